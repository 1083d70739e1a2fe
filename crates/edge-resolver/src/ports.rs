//! Source ports. Each takes a few queries, drawn at random from several that are open, and is then given up: thousands of
//! queries under way need neither thousands of sockets nor leave from a port that can be guessed.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Largest datagram looked at. Servers keep to the size asked for; larger ones are cut and then decided by TCP.
const MAX_DATAGRAM: usize = 4096;
/// Ports open for new queries at a time, for each address family, or each server where ports are bound to one.
const OPEN: usize = 16;
/// Queries that leave from one port.
const USES: u32 = 32;
/// After this many datagrams that are no answers, late ones of all its queries counted, somebody is guessing.
const MAX_UNRELATED: u32 = 16 + USES;
/// Datagrams kept for one query.
const KEPT: usize = 4;

/// What came for a query.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// From the right server, with the right identifier.
    Datagram(Vec<u8>),
    /// Somebody is guessing: nothing that comes here is to be believed.
    Flood,
}

/// All ports of a resolver. Needs a tokio runtime with IO.
#[derive(Debug)]
pub(crate) struct Ports {
    /// Are ports bound to one server each? The kernel then drops what others send, and tells of a closed port.
    connects: bool,
    open: Mutex<BTreeMap<Peer, Vec<(Arc<Port>, u32)>>>,
}

/// Whom a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Peer {
    Server(SocketAddr),
    AnyV4,
    AnyV6,
}

#[derive(Debug)]
struct Port {
    socket: Arc<UdpSocket>,
    waiting: Arc<Mutex<Table>>,
    reader: AbortHandle,
}

type Table = BTreeMap<(SocketAddr, u16), Arc<Inbox>>;

/// What came for one query. Hardly ever more than one datagram: a channel would take a kilobyte for each query.
#[derive(Debug, Default)]
struct Inbox {
    kept: Mutex<Kept>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    arrivals: VecDeque<Arrival>,
    /// Nothing more will come.
    is_over: bool,
}

impl Inbox {
    /// One that has got its fill by now is being flooded, and decides by what it has.
    fn put(&self, arrival: Arrival) {
        let mut kept = locked(&self.kept);
        if kept.arrivals.len() < KEPT {
            kept.arrivals.push_back(arrival);
            self.came.notify_one();
        }
    }

    fn end(&self) {
        locked(&self.kept).is_over = true;
        self.came.notify_one();
    }

    async fn next(&self) -> Option<Arrival> {
        loop {
            {
                let mut kept = locked(&self.kept);
                let arrival = kept.arrivals.pop_front();
                if arrival.is_some() || kept.is_over {
                    return arrival;
                }
            }
            self.came.notified().await;
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A query that has left, until dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    port: Arc<Port>,
    key: (SocketAddr, u16),
    inbox: Arc<Inbox>,
}

impl Waiting {
    /// What came next; `None` if the server's host refused.
    pub(crate) async fn next(&self) -> Option<Arrival> {
        self.inbox.next().await
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        locked(&self.port.waiting).remove(&self.key);
    }
}

impl Ports {
    pub(crate) const fn new(connects: bool) -> Self {
        Self {
            connects,
            open: Mutex::new(BTreeMap::new()),
        }
    }

    /// Sends a query with the identifier `id`, from a port that `random` picks.
    pub(crate) async fn send(
        &self,
        server: SocketAddr,
        id: u16,
        octets: &[u8],
        random: u32,
    ) -> io::Result<Waiting> {
        let key = (server, id);
        let inbox = Arc::<Inbox>::default();
        let port = self.draw(key, Arc::clone(&inbox), random)?;
        let waiting = Waiting { port, key, inbox };
        let socket = &waiting.port.socket;
        if self.connects {
            socket.send(octets).await?;
        } else {
            socket.send_to(octets, server).await?;
        }
        Ok(waiting)
    }

    /// Draws a port on which no query to the same server has the same identifier.
    fn draw(
        &self,
        key: (SocketAddr, u16),
        inbox: Arc<Inbox>,
        random: u32,
    ) -> io::Result<Arc<Port>> {
        let peer = match key.0 {
            server if self.connects => Peer::Server(server),
            SocketAddr::V4(_) => Peer::AnyV4,
            SocketAddr::V6(_) => Peer::AnyV6,
        };
        let mut open = locked(&self.open);
        let ports = open.entry(peer).or_default();
        // A reader ends at an error, or with the runtime that it was started on.
        ports.retain(|(port, _)| !port.reader.is_finished());
        let mut index = random as usize % OPEN;
        let is_taken = |port: &Port| locked(&port.waiting).contains_key(&key);
        if ports.len() < OPEN || ports.get(index).is_none_or(|(port, _)| is_taken(port)) {
            ports.push((Arc::new(Port::open(peer)?), 0));
            index = ports.len() - 1;
        }
        let Some((port, uses)) = ports.get_mut(index) else {
            return Err(io::Error::other("no port"));
        };
        locked(&port.waiting).insert(key, inbox);
        let port = Arc::clone(port);
        *uses += 1;
        if *uses >= USES {
            ports.swap_remove(index);
        }
        Ok(port)
    }
}

impl Port {
    fn open(peer: Peer) -> io::Result<Self> {
        let any: IpAddr = match peer {
            Peer::AnyV4 | Peer::Server(SocketAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
            Peer::AnyV6 | Peer::Server(SocketAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = std::net::UdpSocket::bind((any, 0))?;
        if let Peer::Server(server) = peer {
            socket.connect(server)?;
        }
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let waiting = Arc::<Mutex<Table>>::default();
        let reader = tokio::spawn(read(Arc::clone(&socket), Arc::clone(&waiting)));
        Ok(Self {
            socket,
            waiting,
            reader: reader.abort_handle(),
        })
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Hands what comes to the queries that wait for it.
async fn read(socket: Arc<UdpSocket>, waiting: Arc<Mutex<Table>>) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    let mut unrelated = 0;
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            // A host refused, which the kernel tells only where the port is bound to one server: to all who wait. Further
            // queries leave from other ports.
            for inbox in std::mem::take(&mut *locked(&waiting)).values() {
                inbox.end();
            }
            return;
        };
        let Some(id) = buffer[..length].first_chunk() else {
            continue;
        };
        let waiting = locked(&waiting);
        if let Some(inbox) = waiting.get(&(from, u16::from_be_bytes(*id))) {
            inbox.put(Arrival::Datagram(buffer[..length].to_vec()));
            continue;
        }
        unrelated += 1;
        if unrelated > MAX_UNRELATED {
            for inbox in waiting.values() {
                inbox.put(Arrival::Flood);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_whose_runtime_is_gone_is_replaced() {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        // One more than are opened before any is used again.
        let rounds = u16::try_from(OPEN + 1).unwrap();
        let echo = std::thread::spawn(move || {
            for _ in 0..rounds {
                let mut octets = [0; 16];
                let (length, from) = server.recv_from(&mut octets).unwrap();
                server.send_to(&octets[..length], from).unwrap();
            }
        });
        let ports = Ports::new(false);
        for id in 1..=rounds {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let arrival = runtime.block_on(async {
                let octets = id.to_be_bytes();
                let waiting = ports.send(address, id, &octets, 0).await.unwrap();
                waiting.next().await
            });
            assert!(
                matches!(arrival, Some(Arrival::Datagram(octets)) if octets == id.to_be_bytes())
            );
        }
        echo.join().unwrap();
    }
}
