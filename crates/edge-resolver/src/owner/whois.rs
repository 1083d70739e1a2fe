//! Asking whois servers (RFC 3912): one line there, text back until the server closes.

use std::net::{IpAddr, SocketAddr};

use edge_discovery::{NoOwner, OwnerAnswer, WhoisAnswer, read_whois};
use edge_types::DnsName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Registries, addresses_of};

/// Longest answer taken, in octets.
const MOST_OCTETS: u64 = 64 * 1024;
/// Servers asked one after the other: IANA's, a registry's, and one that a registry leaves a block to.
const MOST_SERVERS: usize = 3;

/// Asks `server` and those that it refers to. What a server said counts if the one that it refers to says nothing.
pub(super) async fn ask_whois(
    registries: &Registries,
    server: DnsName,
    address: IpAddr,
) -> OwnerAnswer {
    let mut known = OwnerAnswer::Unanswered(NoOwner::NoServer);
    let mut next = server;
    let mut asked = Vec::new();
    for _ in 0..MOST_SERVERS {
        let answer = match ask(registries, &next, address).await {
            Ok(text) => read_whois(&text, address),
            Err(failure) => WhoisAnswer::Answer(OwnerAnswer::Unanswered(failure)),
        };
        let (said, referral) = match answer {
            WhoisAnswer::Answer(said) => (said, None),
            WhoisAnswer::Referred { server, so_far } => (so_far, Some(server)),
        };
        if !matches!(said, OwnerAnswer::Unanswered(_)) || !matches!(known, OwnerAnswer::Found(_)) {
            known = said;
        }
        asked.push(next);
        match referral {
            Some(server) if !asked.contains(&server) => next = server,
            _ => break,
        }
    }
    known
}

async fn ask(
    registries: &Registries,
    server: &DnsName,
    address: IpAddr,
) -> Result<Vec<u8>, NoOwner> {
    let unreachable = |cause: std::io::Error| NoOwner::Unreachable(format!("{server}: {cause}"));
    let hosts = addresses_of(server, &*registries.lookup, &registries.policy).await?;
    let mut failure = NoOwner::NoServer;
    for host in hosts {
        let at = SocketAddr::new(host, registries.whois_port);
        let mut stream = match TcpStream::connect(at).await {
            Ok(stream) => stream,
            Err(cause) => {
                failure = unreachable(cause);
                continue;
            }
        };
        let question = format!("{address}\r\n");
        stream
            .write_all(question.as_bytes())
            .await
            .map_err(unreachable)?;
        let mut text = Vec::new();
        // One more, so that too long an answer is seen to be.
        let mut answer = stream.take(MOST_OCTETS + 1);
        answer.read_to_end(&mut text).await.map_err(unreachable)?;
        return Ok(text);
    }
    Err(failure)
}
