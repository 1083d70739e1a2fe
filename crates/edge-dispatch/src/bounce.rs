//! Bounced requests: how far a client is from a site, as both the client and the cloud see it.
//!
//! After a redirect the cloud no longer sees its client. So a few requests are sent cloud -> site -> cloud: the front end redirects to the
//! site's entry point, which redirects back at once, and the time between is the client's. A token goes along and proves, on its
//! return, what was sent to whom and when; nothing is remembered for it but a number that is used once.
//!
//! ## What the time is worth
//! From the first redirect to the request that comes back, a client spends: half a round trip to the cloud for the redirect to arrive;
//! two round trips to the site, one to connect and one to ask (entry points close the connection, and a client is bounced so rarely
//! that none is left open from before); half a round trip to the cloud, and a whole one more if it comes back by a new connection. The
//! rest, over two, is an upper bound of the round trip to the site: the site and the client can only add to it. Over TLS there is a third
//! round trip, and the bound is that much wider.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use edge_types::{AgreementId, IpNet, MonotonicTime, PrefixGrouping, Rtt};
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::target::check_target;

/// Where tokens come back: this path of the front end, and a token.
pub const BOUNCED_PATH: &str = "/.exec/bounced/";
/// Longest token, in characters.
pub const MAX_TOKEN_OCTETS: usize = 2 * (HEAD + MAX_WANTED_OCTETS + TAG);
/// Requests for more than this are not bounced: the token has the request's path and query in it.
pub const MAX_WANTED_OCTETS: usize = 256;
/// A token that comes back later counts for nothing.
pub const BOUNCE_EXPIRES: Duration = Duration::from_secs(30);

/// Round trips to the site within one bounce.
const ROUND_TRIPS: u32 = 2;
/// Octets before the path: time, serial, round trip, flags, agreement.
const HEAD: usize = 8 + 8 + 4 + 1 + 32;
const TAG: usize = 16;

/// Where requests to a site are bounced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BounceTarget {
    /// The agreement under which the site serves.
    pub agreement: AgreementId,
    /// `http://authority` or `https://authority` of its entry point.
    pub entry_point: String,
    /// Does the site's promise hold for this client, that is, does the plan expect a shorter round trip than is promised?
    pub is_promised: bool,
}

impl BounceTarget {
    /// Where the client goes first.
    pub fn location(&self, token: &str) -> String {
        let Self {
            agreement,
            entry_point,
            ..
        } = self;
        format!("{entry_point}/exec/v1/agreements/{agreement}/bounce/{token}")
    }
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BounceTicket {
    /// When the client was sent away.
    pub sent: MonotonicTime,
    /// A number of its own.
    pub serial: u64,
    /// The client's round trip to the cloud then.
    pub rtt: Rtt,
    /// The site's agreement.
    pub agreement: AgreementId,
    /// See [`BounceTarget::is_promised`].
    pub is_promised: bool,
    /// Path and query that the client asked for.
    pub wanted: String,
}

/// A token as it came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What it proves, if it is ours and this client's.
    pub ticket: Option<BounceTicket>,
    /// Where the client wants to go, `/` if the token does not tell. Safe whoever made the token: it is only a path, and only of the
    /// front end's own hosts.
    pub wanted: String,
}

/// The key of tokens; random at each start, so that no token outlives the process.
#[derive(Clone)]
pub struct BounceKey([u8; 16]);

impl std::fmt::Debug for BounceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BounceKey")
    }
}

impl BounceKey {
    /// A key from 16 random octets.
    pub const fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// The token for a client; `None` if what it wants cannot go along.
    pub fn seal(&self, ticket: &BounceTicket, client: IpAddr) -> Option<String> {
        let wanted = ticket.wanted.as_bytes();
        if wanted.len() > MAX_WANTED_OCTETS || check_target(&ticket.wanted).is_err() {
            return None;
        }
        let micros = |time: Duration| u64::try_from(time.as_micros()).ok();
        let mut octets = Vec::with_capacity(HEAD + wanted.len() + TAG);
        octets.extend(micros(ticket.sent.0)?.to_be_bytes());
        octets.extend(ticket.serial.to_be_bytes());
        octets.extend(u32::try_from(micros(ticket.rtt.0)?).ok()?.to_be_bytes());
        octets.push(ticket.is_promised.into());
        octets.extend(ticket.agreement.0);
        octets.extend(wanted);
        octets.extend(self.tag(&octets, client));
        let mut token = String::with_capacity(2 * octets.len());
        for octet in octets {
            write!(token, "{octet:02x}").ok()?;
        }
        Some(token)
    }

    /// Reads what came back from a client.
    pub fn open(&self, token: &str, client: IpAddr) -> Opened {
        let nothing = Opened {
            ticket: None,
            wanted: "/".to_owned(),
        };
        let Some(octets) = unhex(token) else {
            return nothing;
        };
        let Some((said, tag)) = octets.split_last_chunk::<TAG>() else {
            return nothing;
        };
        let Some(ticket) = ticket(said) else {
            return nothing;
        };
        // Of equal length, and compared in full: how long that takes tells nothing.
        let expected = self.tag(said, client);
        let differs = expected
            .iter()
            .zip(tag)
            .fold(0, |sum, (a, b)| sum | (a ^ b));
        Opened {
            wanted: ticket.wanted.clone(),
            ticket: (differs == 0).then_some(ticket),
        }
    }

    /// A number that is always the same for one client, and that nobody else can tell.
    pub fn number_of(&self, client: IpAddr) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        std::hash::Hasher::write(&mut hasher, b"client");
        write_address(&mut hasher, client.to_canonical());
        hasher.finish128().h1
    }

    fn tag(&self, said: &[u8], client: IpAddr) -> [u8; TAG] {
        let network = client_network(client);
        let mut hasher = SipHasher24::new_with_key(&self.0);
        std::hash::Hasher::write(&mut hasher, b"bounce");
        write_address(&mut hasher, network.addr());
        std::hash::Hasher::write(&mut hasher, said);
        hasher.finish128().as_bytes()
    }
}

/// The network whose word a client's word is; one client counts no more than all of its network.
pub fn client_network(client: IpAddr) -> IpNet {
    PrefixGrouping::SITE.group(client.to_canonical())
}

/// An upper bound of the round trip between client and site, of a client that is `rtt` from the cloud; see the top of this file.
pub fn round_trip_bound(elapsed: Duration, rtt: Rtt, by_new_connection: bool) -> Rtt {
    let to_cloud = rtt.0 * if by_new_connection { 2 } else { 1 };
    Rtt(elapsed.saturating_sub(to_cloud) / ROUND_TRIPS)
}

fn write_address(hasher: &mut SipHasher24, address: IpAddr) {
    use std::hash::Hasher as _;
    match address {
        IpAddr::V4(v4) => hasher.write(&v4.octets()),
        IpAddr::V6(v6) => hasher.write(&v6.octets()),
    }
}

fn ticket(said: &[u8]) -> Option<BounceTicket> {
    let (sent, rest) = said.split_first_chunk()?;
    let (serial, rest) = rest.split_first_chunk()?;
    let (rtt, rest) = rest.split_first_chunk()?;
    let (flags, rest) = rest.split_first()?;
    let (agreement, wanted) = rest.split_first_chunk()?;
    let wanted = str::from_utf8(wanted).ok()?;
    check_target(wanted).ok()?;
    Some(BounceTicket {
        sent: MonotonicTime(Duration::from_micros(u64::from_be_bytes(*sent))),
        serial: u64::from_be_bytes(*serial),
        rtt: Rtt(Duration::from_micros(u32::from_be_bytes(*rtt).into())),
        agreement: AgreementId(*agreement),
        is_promised: *flags != 0,
        wanted: wanted.to_owned(),
    })
}

fn unhex(token: &str) -> Option<Vec<u8>> {
    let digits = token.as_bytes();
    if digits.len() > MAX_TOKEN_OCTETS || !digits.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    digits
        .chunks_exact(2)
        .map(|pair| Some((nibble(pair[0])? << 4) | nibble(pair[1])?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: BounceKey = BounceKey::new([7; 16]);
    const CLIENT: &str = "240.9.1.2";

    fn sent(wanted: &str) -> BounceTicket {
        BounceTicket {
            sent: MonotonicTime(Duration::from_millis(12_345)),
            serial: 9,
            rtt: Rtt(Duration::from_millis(60)),
            agreement: AgreementId([3; 32]),
            is_promised: true,
            wanted: wanted.to_owned(),
        }
    }

    fn client() -> IpAddr {
        CLIENT.parse().unwrap()
    }

    #[test]
    fn a_token_comes_back_as_it_was_sent() {
        let longest = format!("/{}", "a".repeat(MAX_WANTED_OCTETS - 1));
        for wanted in ["/", "/a?b=%20c&d", "//evil.example/", &longest] {
            let ticket = sent(wanted);
            let token = KEY.seal(&ticket, client()).unwrap();
            assert!(token.len() <= MAX_TOKEN_OCTETS);
            let same_network = "::ffff:240.9.1.200".parse().unwrap();
            for from in [client(), same_network] {
                let opened = KEY.open(&token, from);
                assert_eq!(opened.ticket.as_ref(), Some(&ticket));
                assert_eq!(opened.wanted, wanted);
            }
        }
        for wanted in ["", "a", "/\r\nx", &format!("{longest}a")] {
            assert_eq!(KEY.seal(&sent(wanted), client()), None, "{wanted:?}");
        }
    }

    #[test]
    fn forged_tokens_and_those_of_other_clients_prove_nothing_and_lead_on() {
        let token = KEY.seal(&sent("/page"), client()).unwrap();
        let check = |key: &BounceKey, token: &str, client: &str, wanted: &str| {
            let opened = key.open(token, client.parse().unwrap());
            assert_eq!(opened.ticket, None, "{token}");
            assert_eq!(opened.wanted, wanted, "{token}");
        };
        check(&KEY, &token, "240.9.2.2", "/page");
        check(&KEY, &token, "3fff::1", "/page");
        check(&BounceKey::new([8; 16]), &token, CLIENT, "/page");
        // Any nibble changed: an earlier time, another agreement, another tag.
        for at in (0..token.len()).filter(|at| !(106..116).contains(at)) {
            let digit = if token.as_bytes()[at] == b'0' {
                "1"
            } else {
                "0"
            };
            let mut forged = token.clone();
            forged.replace_range(at..=at, digit);
            check(&KEY, &forged, CLIENT, "/page");
        }
    }

    #[test]
    fn garbage_is_refused_whatever_it_is() {
        let long = "0".repeat(MAX_TOKEN_OCTETS + 2);
        let cut = &KEY.seal(&sent("/page"), client()).unwrap()[..110];
        for garbage in ["", "0", "zz", "\u{e4}", &"0".repeat(300), &long, cut] {
            let opened = KEY.open(garbage, client());
            assert_eq!((opened.ticket, &*opened.wanted), (None, "/"), "{garbage}");
        }
    }

    #[test]
    fn the_bound_is_what_a_client_spends_with_the_site() {
        let ms = Duration::from_millis;
        let (cloud, site) = (Rtt(ms(60)), ms(12));
        let kept = cloud.0 + 2 * site;
        assert_eq!(round_trip_bound(kept, cloud, false), Rtt(site));
        assert_eq!(round_trip_bound(kept + cloud.0, cloud, true), Rtt(site));
        // Whatever anybody adds makes it longer.
        assert_eq!(round_trip_bound(kept + ms(10), cloud, false), Rtt(ms(17)));
        assert_eq!(round_trip_bound(ms(10), cloud, false), Rtt(ms(0)));
    }

    #[test]
    fn a_client_has_its_number() {
        let number = |key: &BounceKey, text: &str| key.number_of(text.parse().unwrap());
        assert_eq!(number(&KEY, CLIENT), number(&KEY, "::ffff:240.9.1.2"));
        assert_ne!(number(&KEY, CLIENT), number(&KEY, "240.9.1.3"));
        assert_ne!(
            number(&KEY, CLIENT),
            number(&BounceKey::new([8; 16]), CLIENT)
        );
    }
}
