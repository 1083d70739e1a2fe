//! One query to one server: UDP first, TCP where that is not enough.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ports::{Arrival, Ports};
use crate::wire::{Reply, SentQuery};

/// After this many datagrams that are not the answer, somebody is guessing: TCP decides.
const MAX_UNRELATED: usize = 16;

/// How long to wait for a socket where too many are open.
const FILE_WAIT: Duration = Duration::from_millis(10);

/// Why one exchange gave no message.
#[derive(Debug)]
pub(crate) enum ExchangeFailure {
    /// A socket could not be opened, or the server's host refused.
    Unreachable,
    /// The answer makes no sense, over TCP too.
    Malformed(&'static str),
}

impl From<std::io::Error> for ExchangeFailure {
    fn from(_: std::io::Error) -> Self {
        Self::Unreachable
    }
}

/// Sends the query from a port that `random` picks and waits for its answer, without limit of time.
pub(crate) async fn exchange(
    ports: &Ports,
    server: SocketAddr,
    query: &SentQuery,
    random: u32,
) -> Result<Message, ExchangeFailure> {
    match over_udp(ports, server, query, random).await? {
        Some(message) => Ok(message),
        // Seldom needed, and large.
        None => Box::pin(over_tcp(server, query)).await,
    }
}

async fn over_udp(
    ports: &Ports,
    server: SocketAddr,
    query: &SentQuery,
    random: u32,
) -> Result<Option<Message>, ExchangeFailure> {
    let waiting = loop {
        match ports.send(server, query.id, &query.octets, random).await {
            // Others give theirs back soon; the caller's time-out ends the wait.
            Err(error) if is_out_of_files(&error) => tokio::time::sleep(FILE_WAIT).await,
            sent => break sent?,
        }
    };
    for _ in 0..MAX_UNRELATED {
        match waiting.next().await {
            None => return Err(ExchangeFailure::Unreachable),
            Some(Arrival::Flood) => return Ok(None),
            Some(Arrival::Datagram(octets)) => match query.judge(&octets, false) {
                Reply::Answer(message) => return Ok(Some(*message)),
                Reply::Doubtful(_) => return Ok(None),
                Reply::Unrelated => {}
            },
        }
    }
    Ok(None)
}

/// Are as many sockets open as the process or the system may have?
fn is_out_of_files(error: &std::io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

async fn over_tcp(server: SocketAddr, query: &SentQuery) -> Result<Message, ExchangeFailure> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.octets.len())
        .map_err(|_| ExchangeFailure::Malformed("a query that is too long"))?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(&query.octets);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut octets = Vec::new();
    stream.take(length.into()).read_to_end(&mut octets).await?;
    if octets.len() != usize::from(length) {
        return Err(ExchangeFailure::Malformed("an answer that breaks off"));
    }
    match query.judge(&octets, true) {
        Reply::Answer(message) => Ok(*message),
        Reply::Doubtful(why) => Err(ExchangeFailure::Malformed(why)),
        Reply::Unrelated => Err(ExchangeFailure::Malformed("an answer to another query")),
    }
}
