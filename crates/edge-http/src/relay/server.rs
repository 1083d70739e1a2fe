//! The relay's end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edge_ports::Clock;
use edge_types::{ChainAddress, Hash32};
use edge_wire::relay::{
    MAX_REGISTRATION_SECONDS, Registration, RelayLine, RelayRefusal, verify_registration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::lines::{read_line, write_line};

/// Which public ports an account may have.
pub type Admission = BTreeMap<ChainAddress, BTreeSet<u16>>;

/// Bounds of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayLimits {
    /// Connections of providers at once, without those that carry a client already.
    pub connections: usize,
    /// Clients of one provider at once.
    pub clients_per_provider: usize,
    /// Of these, from one address.
    pub clients_per_source: usize,
    /// Longest time for a line that is due: a registration, a stream.
    pub line_timeout: Duration,
    /// A provider that was silent for longer is gone.
    pub silence: Duration,
    /// A client's connection on which nothing moves for longer is closed.
    pub idle: Duration,
    /// A client's connection lasts no longer.
    pub lifetime: Duration,
    /// Octets that a client's connection carries at most, each way.
    pub octets: u64,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            clients_per_provider: 256,
            clients_per_source: 32,
            line_timeout: Duration::from_secs(10),
            silence: Duration::from_secs(45),
            idle: Duration::from_secs(60),
            lifetime: Duration::from_hours(1),
            octets: 4 << 30,
        }
    }
}

/// Carries clients' connections to providers that cannot be reached otherwise.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    clients_at: IpAddr,
    admission: Admission,
    limits: RelayLimits,
    clock: Arc<dyn Clock>,
    places: Arc<Semaphore>,
    sessions: Mutex<BTreeMap<Hash32, Session>>,
}

/// A provider that is there.
#[derive(Debug)]
struct Session {
    account: ChainAddress,
    /// Ends it.
    _end: oneshot::Sender<()>,
    /// Clients that wait for their stream.
    waiting: BTreeMap<Hash32, oneshot::Sender<TcpStream>>,
    sources: BTreeMap<IpAddr, usize>,
    clients: usize,
}

impl Relay {
    /// A relay that providers know by `address`, which they sign for; the ports of their clients are opened at
    /// `clients_at`.
    pub fn new(
        address: SocketAddr,
        clients_at: IpAddr,
        admission: Admission,
        limits: RelayLimits,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            address,
            clients_at,
            admission,
            limits,
            clock,
            places: Arc::new(Semaphore::new(limits.connections)),
            sessions: Mutex::default(),
        }
    }

    /// How many providers are there now.
    pub fn providers(&self) -> usize {
        self.sessions().len()
    }

    /// Serves providers until it is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(place) = self.places.clone().acquire_owned().await else {
                return;
            };
            let Ok((stream, peer)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let relay = Arc::clone(&self);
            connections.spawn(async move {
                let _ = stream.set_nodelay(true);
                if let Err(error) = relay.meet(stream, place).await {
                    tracing::debug!(%peer, %error, "a provider's connection ended");
                }
            });
        }
    }

    /// A new connection of a provider: a registration, or a stream that a client waits for.
    async fn meet(
        self: Arc<Self>,
        mut stream: TcpStream,
        place: OwnedSemaphorePermit,
    ) -> io::Result<()> {
        let nonce = random()?;
        let begin = async {
            write_line(&mut stream, &RelayLine::Hello { nonce }).await?;
            read_line(&mut stream).await
        };
        match tokio::time::timeout(self.limits.line_timeout, begin).await?? {
            RelayLine::Register(registration) => {
                self.register(stream, &registration, nonce, place).await
            }
            RelayLine::Stream {
                session,
                stream: id,
            } => {
                let waiting = self
                    .sessions()
                    .get_mut(&session)
                    .and_then(|session| session.waiting.remove(&id));
                if let Some(client) = waiting {
                    let _client_gone = client.send(stream);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn register(
        self: Arc<Self>,
        mut stream: TcpStream,
        registration: &Registration,
        nonce: Hash32,
        _place: OwnedSemaphorePermit,
    ) -> io::Result<()> {
        let account = registration.account;
        if let Err(reason) = self.check(registration, nonce) {
            return write_line(&mut stream, &RelayLine::Refused { reason }).await;
        }
        let (end, mut ended) = oneshot::channel();
        let session = random()?;
        {
            // A provider that comes again has lost its former connection.
            let mut sessions = self.sessions();
            sessions.retain(|_, known| known.account != account);
            let new = Session {
                account,
                _end: end,
                waiting: BTreeMap::new(),
                sources: BTreeMap::new(),
                clients: 0,
            };
            sessions.insert(session, new);
        }
        let served = tokio::select! {
            served = self.serve_provider(&mut stream, session, &registration.ports) => served,
            _ = &mut ended => Ok(()),
        };
        self.sessions().remove(&session);
        served
    }

    fn check(&self, registration: &Registration, nonce: Hash32) -> Result<(), RelayRefusal> {
        verify_registration(registration, self.address, nonce)
            .map_err(|_| RelayRefusal::Signature)?;
        let now = self.clock.utc();
        if registration.expires < now
            || registration.expires > now.plus_seconds(MAX_REGISTRATION_SECONDS)
        {
            return Err(RelayRefusal::Expiry);
        }
        let admitted = self
            .admission
            .get(&registration.account)
            .ok_or(RelayRefusal::NotAdmitted)?;
        if registration
            .ports
            .iter()
            .all(|port| admitted.contains(port))
        {
            Ok(())
        } else {
            Err(RelayRefusal::Port)
        }
    }

    async fn serve_provider(
        self: &Arc<Self>,
        stream: &mut TcpStream,
        session: Hash32,
        ports: &[u16],
    ) -> io::Result<()> {
        let mut listeners = Vec::new();
        for port in ports.iter().collect::<BTreeSet<_>>() {
            match listen(SocketAddr::new(self.clients_at, *port)).await {
                Ok(listener) => listeners.push((*port, listener)),
                Err(_) => {
                    let reason = RelayRefusal::PortInUse;
                    return write_line(stream, &RelayLine::Refused { reason }).await;
                }
            }
        }
        write_line(stream, &RelayLine::Registered { session }).await?;
        // Dropped with this future, and with them the clients.
        let mut tasks = JoinSet::new();
        let (open, mut opened) = mpsc::channel(16);
        for (port, listener) in listeners {
            tasks.spawn(Arc::clone(self).accept(session, port, listener, open.clone()));
        }
        let (mut reader, mut writer) = stream.split();
        let heard = async {
            loop {
                tokio::time::timeout(self.limits.silence, read_line(&mut reader)).await??;
            }
        };
        let told = async {
            let mut pulse = tokio::time::interval(self.limits.silence / 3);
            loop {
                let line = tokio::select! {
                    Some((stream, port)) = opened.recv() => RelayLine::Open { stream, port },
                    _ = pulse.tick() => RelayLine::Alive {},
                };
                tokio::time::timeout(self.limits.line_timeout, write_line(&mut writer, &line))
                    .await??;
            }
        };
        tokio::select! {
            ended = heard => ended,
            ended = told => ended,
        }
    }

    /// Takes the clients of one port.
    async fn accept(
        self: Arc<Self>,
        session: Hash32,
        port: u16,
        listener: TcpListener,
        open: mpsc::Sender<(Hash32, u16)>,
    ) {
        let mut clients = JoinSet::new();
        loop {
            while clients.try_join_next().is_some() {}
            let Ok((client, peer)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let source = peer.ip().to_canonical();
            if !self.enter(session, source) {
                continue;
            }
            let (relay, open) = (Arc::clone(&self), open.clone());
            clients.spawn(async move {
                let _ = client.set_nodelay(true);
                let held = Held {
                    relay: &relay,
                    session,
                    source,
                };
                if let Err(error) = relay.carry(held.session, port, client, open).await {
                    tracing::debug!(%peer, port, %error, "a client's connection ended");
                }
            });
        }
    }

    /// A place for a client, if there is one.
    fn enter(&self, session: Hash32, source: IpAddr) -> bool {
        let mut sessions = self.sessions();
        let Some(session) = sessions.get_mut(&session) else {
            return false;
        };
        let of_source = session.sources.entry(source).or_default();
        if session.clients >= self.limits.clients_per_provider
            || *of_source >= self.limits.clients_per_source
        {
            return false;
        }
        *of_source += 1;
        session.clients += 1;
        true
    }

    fn leave(&self, session: Hash32, source: IpAddr) {
        let mut sessions = self.sessions();
        let Some(session) = sessions.get_mut(&session) else {
            return;
        };
        session.clients = session.clients.saturating_sub(1);
        match session.sources.get_mut(&source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(session.sources.remove(&source)),
        }
    }

    async fn carry(
        &self,
        session: Hash32,
        port: u16,
        client: TcpStream,
        open: mpsc::Sender<(Hash32, u16)>,
    ) -> io::Result<()> {
        let id = random()?;
        let (tell, told) = oneshot::channel();
        match self.sessions().get_mut(&session) {
            Some(session) => session.waiting.insert(id, tell),
            None => return Ok(()),
        };
        let provider = async {
            open.send((id, port))
                .await
                .map_err(|_| io::ErrorKind::BrokenPipe)?;
            told.await.map_err(|_| io::ErrorKind::BrokenPipe)
        };
        let provider = tokio::time::timeout(self.limits.line_timeout, provider).await;
        if let Some(session) = self.sessions().get_mut(&session) {
            session.waiting.remove(&id);
        }
        splice(client, provider??, &self.limits).await
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<Hash32, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's place; given back when dropped.
struct Held<'a> {
    relay: &'a Relay,
    session: Hash32,
    source: IpAddr,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.relay.leave(self.session, self.source);
    }
}

/// Listens at a port that may have been left a moment ago.
async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let mut attempts = 0;
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts < 10 => {
                attempts += 1
            }
            bound => return bound,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Carries octets both ways until both ends have finished, or a limit ends it.
pub(super) async fn splice(
    mut a: TcpStream,
    mut b: TcpStream,
    limits: &RelayLimits,
) -> io::Result<()> {
    let carried = async {
        let (mut from_a, mut to_a) = a.split();
        let (mut from_b, mut to_b) = b.split();
        tokio::try_join!(
            pump(&mut from_a, &mut to_b, limits),
            pump(&mut from_b, &mut to_a, limits)
        )
    };
    tokio::time::timeout(limits.lifetime, carried).await??;
    Ok(())
}

async fn pump(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    limits: &RelayLimits,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut carried = 0u64;
    loop {
        let read = tokio::time::timeout(limits.idle, from.read(&mut buffer)).await??;
        if read == 0 {
            return to.shutdown().await;
        }
        carried += read as u64;
        if carried > limits.octets {
            return Err(io::Error::other("more octets than a connection may carry"));
        }
        tokio::time::timeout(limits.idle, to.write_all(&buffer[..read])).await??;
    }
}

fn random() -> io::Result<Hash32> {
    let mut number = Hash32([0; 32]);
    getrandom::fill(&mut number.0).map_err(io::Error::other)?;
    Ok(number)
}
