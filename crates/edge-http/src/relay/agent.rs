//! The provider's end.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use edge_ports::{Clock, Signer};
use edge_types::Hash32;
use edge_wire::relay::{Registration, RelayLine, RelayRefusal, registration_digest};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::lines::{read_line, write_line};
use super::server::{RelayLimits, splice};

/// A registration is signed for so many seconds.
const REGISTRATION_SECONDS: u64 = 60;
/// Waits before the relay is tried again; doubles up to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// Time for a connection to the relay or to a service.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A provider's connection to a relay ended.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The relay does not take us. Repeated, since its owner may admit us later.
    #[error("the relay at {relay} refuses")]
    Refused {
        /// Which relay.
        relay: SocketAddr,
        /// Its reason.
        #[source]
        reason: RelayRefusal,
    },
    /// The connection failed. Repeated.
    #[error("the connection to the relay at {relay} failed")]
    Connection {
        /// Which relay.
        relay: SocketAddr,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// Keeps a provider reachable through a relay.
#[derive(Clone, Debug)]
pub struct RelayAgent {
    relay: SocketAddr,
    /// Own service by public port. Nothing else is ever connected to.
    services: Arc<BTreeMap<u16, SocketAddr>>,
    signer: Arc<dyn Signer>,
    clock: Arc<dyn Clock>,
    limits: RelayLimits,
}

impl RelayAgent {
    /// Makes each of `services`, by public port, reachable at the address of `relay`.
    pub fn new(
        relay: SocketAddr,
        services: BTreeMap<u16, SocketAddr>,
        signer: Arc<dyn Signer>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            relay,
            services: Arc::new(services),
            signer,
            clock,
            limits: RelayLimits::default(),
        }
    }

    /// Stays registered, for ever. `told` hears of each success (`None`) and failure.
    pub async fn run(&self, mut told: impl FnMut(Option<RelayError>) + Send) {
        let mut pause = RETRY.0;
        loop {
            let mut was_registered = false;
            let ended = self.once(|| {
                was_registered = true;
                told(None);
            });
            let error = ended.await;
            told(Some(error));
            pause = if was_registered {
                RETRY.0
            } else {
                (pause * 2).min(RETRY.1)
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn once(&self, registered: impl FnOnce() + Send) -> RelayError {
        let relay = self.relay;
        match self.stay(registered).await {
            Ok(reason) => RelayError::Refused { relay, reason },
            Err(cause) => RelayError::Connection { relay, cause },
        }
    }

    async fn stay(&self, registered: impl FnOnce() + Send) -> io::Result<RelayRefusal> {
        let (mut stream, nonce) = self.connect().await?;
        let ports: Vec<u16> = self.services.keys().copied().collect();
        let expires = self.clock.utc().plus_seconds(REGISTRATION_SECONDS);
        let account = self.signer.address();
        let digest = registration_digest(self.relay, account, &ports, nonce, expires);
        let signature = self.signer.sign_digest(digest);
        let registration = Registration {
            account,
            ports,
            expires,
            signature,
        };
        let session = tokio::time::timeout(CONNECT_TIMEOUT, async {
            write_line(&mut stream, &RelayLine::Register(registration)).await?;
            read_line(&mut stream).await
        });
        let session = match session.await?? {
            RelayLine::Registered { session } => session,
            RelayLine::Refused { reason } => return Ok(reason),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        registered();
        let turns = Arc::new(Semaphore::new(self.limits.clients_per_provider));
        let mut streams = JoinSet::new();
        let (mut reader, mut writer) = stream.split();
        let heard = async {
            loop {
                while streams.try_join_next().is_some() {}
                let line =
                    tokio::time::timeout(self.limits.silence, read_line(&mut reader)).await??;
                let RelayLine::Open { stream, port } = line else {
                    continue;
                };
                let (Some(service), Ok(turn)) = (
                    self.services.get(&port).copied(),
                    turns.clone().try_acquire_owned(),
                ) else {
                    continue;
                };
                let agent = self.clone();
                streams.spawn(async move {
                    let _turn = turn;
                    if let Err(error) = agent.carry(session, stream, service).await {
                        tracing::debug!(port, %error, "a relayed connection ended");
                    }
                });
            }
        };
        let told = async {
            let mut pulse = tokio::time::interval(self.limits.silence / 3);
            loop {
                pulse.tick().await;
                write_line(&mut writer, &RelayLine::Alive {}).await?;
            }
        };
        tokio::select! {
            ended = heard => ended,
            ended = told => ended,
        }
    }

    /// Connects to the relay and hears its nonce.
    async fn connect(&self) -> io::Result<(TcpStream, Hash32)> {
        tokio::time::timeout(CONNECT_TIMEOUT, async {
            let mut stream = TcpStream::connect(self.relay).await?;
            let _ = stream.set_nodelay(true);
            match read_line(&mut stream).await? {
                RelayLine::Hello { nonce } => Ok((stream, nonce)),
                _ => Err(io::ErrorKind::InvalidData.into()),
            }
        })
        .await?
    }

    /// Carries one client's connection to a service of ours.
    async fn carry(&self, session: Hash32, id: Hash32, service: SocketAddr) -> io::Result<()> {
        let own = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(service)).await??;
        let _ = own.set_nodelay(true);
        let (mut relayed, _) = self.connect().await?;
        write_line(
            &mut relayed,
            &RelayLine::Stream {
                session,
                stream: id,
            },
        )
        .await?;
        splice(own, relayed, &self.limits).await
    }
}
