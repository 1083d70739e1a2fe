//! A question that only a site's own container can answer (security rule 7).
//!
//! `GET path?nonce=N` is answered with HMAC-SHA256 (RFC 2104) of N under a key that the container was given in its environment, in
//! hexadecimal. A machine that answers every request with 200, or with pages that it kept, cannot do that; one that carries the question
//! to a container elsewhere can, and takes longer. Who runs the machine can read the key: without attestation of the hardware this proves
//! that somebody runs something with it at that distance, and no more.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// Environment variable of a container with its key, 64 hexadecimal digits.
pub const KEY_VARIABLE: &str = "CHALLENGE_KEY";

/// Longest answer that is read.
const MOST_OCTETS: u64 = 8 * 1024;
/// Longest nonce that is answered.
const MOST_NONCE: usize = 64;

/// A container's key.
#[derive(Clone, PartialEq, Eq)]
pub struct ChallengeKey([u8; 32]);

impl ChallengeKey {
    /// Of these random octets.
    pub const fn new(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// What the container answers; `None` for a nonce that is not 1 to 64 letters and digits.
    pub fn answer(&self, nonce: &str) -> Option<String> {
        let is_sound = !nonce.is_empty()
            && nonce.len() <= MOST_NONCE
            && nonce.bytes().all(|octet| octet.is_ascii_alphanumeric());
        if !is_sound {
            return None;
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(nonce.as_bytes());
        Some(hexadecimal(&mac.finalize().into_bytes()))
    }
}

impl fmt::Display for ChallengeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hexadecimal(&self.0))
    }
}

impl fmt::Debug for ChallengeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChallengeKey(…)")
    }
}

/// Not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a challenge's key is 64 hexadecimal digits")]
pub struct KeyError;

impl FromStr for ChallengeKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.len() != 64 || !text.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return Err(KeyError);
        }
        let mut octets = [0; 32];
        for (octet, at) in octets.iter_mut().zip((0..).step_by(2)) {
            let digits = text.get(at..at + 2).ok_or(KeyError)?;
            *octet = u8::from_str_radix(digits, 16).map_err(|_| KeyError)?;
        }
        Ok(Self(octets))
    }
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Why a challenge was not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeFailure {
    /// Nobody answered, or not in time.
    #[error("no answer")]
    NoAnswer,
    /// Somebody answered, but not as the container would.
    #[error("answered by somebody who has not the container's key")]
    Wrong,
}

/// Puts `nonce` to whoever serves at `address`; the time from the question to the first octet of the right answer.
///
/// # Errors
/// [`ChallengeFailure`].
pub async fn challenge(
    address: SocketAddr,
    path: &str,
    key: &ChallengeKey,
    nonce: &str,
    patience: Duration,
) -> Result<Duration, ChallengeFailure> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {path}?nonce={nonce} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        );
        let sent = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        let mut answer = vec![0];
        stream.read_exact(&mut answer).await?;
        let took = sent.elapsed();
        stream.take(MOST_OCTETS).read_to_end(&mut answer).await?;
        std::io::Result::Ok((answer, took))
    };
    let Ok(Ok((answer, took))) = timeout(patience, asked).await else {
        return Err(ChallengeFailure::NoAnswer);
    };
    let answer = String::from_utf8_lossy(&answer);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    let expected = key.answer(nonce).ok_or(ChallengeFailure::Wrong)?;
    // Some put its length before and after it.
    let is_right = answer.starts_with("HTTP/1.1 200")
        && body.is_some_and(|body| body.contains(expected.as_str()));
    if is_right {
        Ok(took)
    } else {
        Err(ChallengeFailure::Wrong)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn answers_as_any_other_hmac() {
        // RFC 4231 section 4.3 has a shorter key; this is from Python's hmac.
        let key: ChallengeKey = "0b".repeat(32).parse().unwrap();
        assert_eq!(key.to_string(), "0b".repeat(32));
        assert_eq!(
            key.answer("nonce1").unwrap(),
            "427959a58247b2c81184d3bbbafd791f6d095748a834dedc8bb0fa47f4518dc3"
        );
        for unsound in ["", "a b", "é", &"a".repeat(65)] {
            assert_eq!(key.answer(unsound), None, "{unsound}");
        }
        for unsound in ["", "0b", &"xy".repeat(32), &"é".repeat(32)] {
            assert_eq!(unsound.parse::<ChallengeKey>(), Err(KeyError), "{unsound}");
        }
    }

    #[tokio::test]
    async fn whoever_has_not_the_key_does_not_pass() {
        let key = ChallengeKey::new([7; 32]);
        let right = key.answer("n1").unwrap();
        let ok = |body: &str| format!("HTTP/1.1 200 OK\r\n\r\n{body}\n");
        for (answer, met) in [
            (ok(&right), Ok(())),
            (ok(&format!("40\r\n{right}\r\n0\r\n")), Ok(())),
            (
                ok(&ChallengeKey::new([8; 32]).answer("n1").unwrap()),
                Err(ChallengeFailure::Wrong),
            ),
            (ok(&key.answer("n2").unwrap()), Err(ChallengeFailure::Wrong)),
            (ok("ok"), Err(ChallengeFailure::Wrong)),
            (
                format!("HTTP/1.1 200 OK\r\nx: {right}\r\n\r\n"),
                Err(ChallengeFailure::Wrong),
            ),
            (
                format!("HTTP/1.1 404 Not Found\r\n\r\n{right}"),
                Err(ChallengeFailure::Wrong),
            ),
            (String::new(), Err(ChallengeFailure::NoAnswer)),
        ] {
            let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let told = answer.clone();
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 256];
                let read = stream.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"GET /c?nonce=n1 HTTP/1.1\r\n"));
                stream.write_all(told.as_bytes()).await.unwrap();
            });
            let patience = Duration::from_secs(5);
            let outcome = challenge(address, "/c", &key, "n1", patience).await;
            assert_eq!(outcome.map(|_| ()), met, "{answer:?}");
            server.await.unwrap();
        }
    }
}
