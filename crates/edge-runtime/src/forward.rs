//! Carrying TCP connections across a container's border.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use edge_http::passive::shortest_round_trip;

use crate::clients::ClientRoundTrips;
use crate::drain;
use crate::netns::NetworkNamespace;

/// Bounds of one forwarded port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardLimits {
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// A connection on which nothing moves for so long is closed.
    pub idle: Duration,
    /// Longest time to connect to the other side.
    pub connect: Duration,
}

impl Default for ForwardLimits {
    fn default() -> Self {
        Self {
            connections: 512,
            idle: Duration::from_mins(1),
            connect: Duration::from_secs(10),
        }
    }
}

/// What happens to new connections at the client-facing address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They are carried inside.
    Forward,
    /// They are answered with a redirect to this origin.
    Drain(Arc<str>),
}

const BUFFER: usize = 16 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// While draining, a connection is closed when its last answer is this long ago.
const DRAIN_QUIET: Duration = Duration::from_millis(500);
const DRAIN_TICK: Duration = Duration::from_millis(100);

/// Serves clients at `listener`: carries them to `port` inside, or sends them away, as `mode` says, and notes how far they are. Ends
/// when dropped.
pub(crate) async fn serve_clients(
    listener: TcpListener,
    inside: Arc<NetworkNamespace>,
    port: u16,
    mode: watch::Receiver<Mode>,
    limits: ForwardLimits,
    distances: Arc<ClientRoundTrips>,
) {
    accept_each(&listener, limits.connections, |client| {
        if let (Ok(peer), Some(rtt)) = (client.peer_addr(), shortest_round_trip(&client)) {
            distances.note(peer.ip(), rtt, std::time::Instant::now());
        }
        let (inside, mode) = (Arc::clone(&inside), mode.clone());
        async move {
            let now = mode.borrow().clone();
            match now {
                Mode::Drain(origin) => drain::redirect(client, &origin).await,
                Mode::Forward => {
                    let connect = async {
                        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                        inside.socket().await?.connect(address).await
                    };
                    if let Ok(Ok(server)) = timeout(limits.connect, connect).await {
                        carry(client, server, limits.idle, Some(mode)).await;
                    }
                }
            }
        }
    })
    .await;
}

/// Carries connections that the container makes at `listener` to `outside`. Ends when dropped.
pub(crate) async fn serve_egress(
    listener: TcpListener,
    outside: SocketAddr,
    limits: ForwardLimits,
) {
    accept_each(&listener, limits.connections, |client| async move {
        let connect = TcpStream::connect(outside);
        if let Ok(Ok(server)) = timeout(limits.connect, connect).await {
            carry(client, server, limits.idle, None).await;
        }
    })
    .await;
}

async fn accept_each<F>(
    listener: &TcpListener,
    connections: usize,
    mut handle: impl FnMut(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(connections));
    let mut tasks = JoinSet::new();
    loop {
        // A place first, so that waiting clients stay in the kernel's queue.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        while tasks.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((client, _)) => {
                let work = handle(client);
                tasks.spawn(async move {
                    work.await;
                    drop(place);
                });
            }
            // Out of file descriptors, or a client that has already gone.
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// When something last moved, and in which direction.
struct Activity {
    start: Instant,
    last_millis: AtomicU64,
    answered: AtomicBool,
}

impl Activity {
    fn touch(&self, answered: bool) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_millis.store(millis, Ordering::Relaxed);
        self.answered.store(answered, Ordering::Relaxed);
    }

    fn quiet(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(
            self.last_millis.load(Ordering::Relaxed),
        ))
    }
}

async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    idle: Duration,
    mode: Option<watch::Receiver<Mode>>,
) {
    let _best_effort = (client.set_nodelay(true), server.set_nodelay(true));
    let activity = Activity {
        start: Instant::now(),
        last_millis: AtomicU64::new(0),
        answered: AtomicBool::new(false),
    };
    let (client_read, client_write) = client.split();
    let (server_read, server_write) = server.split();
    let both = async {
        tokio::join!(
            pump(client_read, server_write, &activity, false),
            pump(server_read, client_write, &activity, true),
        )
    };
    tokio::select! {
        _ = both => {}
        () = give_up(&activity, idle, mode) => {}
    }
}

/// Resolves when the connection is to be closed: idle, or, while draining, quiet after an answer.
async fn give_up(activity: &Activity, idle: Duration, mut mode: Option<watch::Receiver<Mode>>) {
    loop {
        let draining = mode
            .as_mut()
            .is_some_and(|mode| *mode.borrow_and_update() != Mode::Forward);
        let quiet = activity.quiet();
        let answered = activity.answered.load(Ordering::Relaxed);
        if quiet >= idle || (draining && answered && quiet >= DRAIN_QUIET) {
            return;
        }
        let pause = if draining {
            DRAIN_TICK
        } else {
            idle.saturating_sub(quiet)
        };
        match &mut mode {
            Some(changes) if !draining => {
                if let Ok(Err(_never_changes_again)) = timeout(pause, changes.changed()).await {
                    mode = None;
                }
            }
            _ => sleep(pause).await,
        }
    }
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    activity: &Activity,
    answer: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        activity.touch(answer);
    }
}
