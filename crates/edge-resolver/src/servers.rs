//! What is known about servers: how fast each answers, which are silent, and which are lame for which zone.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::rr::Name;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Servers remembered at a time, and as many pairs of server and zone.
const MAX_KNOWN: usize = 20_000;
/// After so many silences in a row a server is asked only where there is no other.
const SILENT_AFTER: u32 = 3;
/// For so long.
const SILENT_FOR: Duration = Duration::from_secs(15);
/// A server that is lame for a zone is not asked about it for this time (RFC 2308 section 7: at most 5 minutes).
const LAME_FOR: Duration = Duration::from_mins(1);
/// No server is taken for silent before this time.
const LEAST_WAIT: Duration = Duration::from_millis(50);

/// Knowledge about servers, shared by all questions.
#[derive(Debug)]
pub(crate) struct Servers {
    state: Mutex<State>,
    /// The wait for an answer where nothing is known.
    first_timeout: Duration,
    max_in_flight_per_server: usize,
    /// Do waits follow what was measured? Not for recursive servers, whose time is that of all whom they ask.
    adapts: bool,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<SocketAddr, Known>,
    lame: HashMap<(SocketAddr, Name), Instant>,
    /// Round trip of servers in general, smoothed.
    typical: Option<Duration>,
}

#[derive(Debug)]
struct Known {
    permits: Arc<Semaphore>,
    /// Smoothed round trip and its variation (RFC 6298).
    rtt: Option<(Duration, Duration)>,
    silences: u32,
    silent_since: Instant,
    /// Is it lame for any zone? Most are not, and names are slow to look up.
    is_lame: bool,
}

impl Known {
    fn is_silent(&self, now: Instant) -> bool {
        self.silences >= SILENT_AFTER && now.duration_since(self.silent_since) < SILENT_FOR
    }
}

/// One server to ask.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) address: SocketAddr,
    /// How long to wait for its answer before somebody else is asked too.
    pub(crate) wait: Duration,
    /// Held while a question is under way.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) is_silent: bool,
}

impl Servers {
    pub(crate) fn new(
        first_timeout: Duration,
        max_in_flight_per_server: usize,
        adapts: bool,
    ) -> Self {
        Self {
            state: Mutex::default(),
            first_timeout,
            max_in_flight_per_server,
            adapts,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of `addresses` that are not lame for `zone`, in the order in which to ask: fast ones and ones never tried
    /// first, silent ones last. `random` spreads questions over equals.
    pub(crate) fn order(
        &self,
        addresses: &[SocketAddr],
        zone: &Name,
        random: u64,
        now: Instant,
    ) -> Vec<Choice> {
        let mut state = self.state();
        let mut choices: Vec<((bool, Duration), Choice)> = Vec::with_capacity(addresses.len());
        for (position, &address) in (0u32..).zip(addresses) {
            if choices.iter().any(|(_, known)| known.address == address)
                || state.is_lame(address, zone, now)
            {
                continue;
            }
            let typical = state.typical;
            let known = state.known(address, self.max_in_flight_per_server, now);
            // 1/4 to 5/4.
            let share = (random.rotate_left(position * 11) & 0xff) as u32 + 64;
            let (expected, wait) = if let Some((smoothed, variation)) = known.rtt {
                (smoothed, smoothed + 4 * variation)
            } else {
                let typical = typical.unwrap_or(self.first_timeout / 2);
                // Not tried yet: before those that are known to be as fast as others.
                (typical / 2, 2 * typical)
            };
            let wait = if self.adapts {
                wait.clamp(LEAST_WAIT.min(self.first_timeout), self.first_timeout)
            } else {
                self.first_timeout
            };
            let is_silent = self.adapts && known.is_silent(now);
            let expected = if known.silences > 0 {
                expected + self.first_timeout
            } else {
                expected
            };
            let key = if self.adapts {
                expected * share / 256
            } else {
                // The one that answered last is kept to; else the order of the configuration.
                Duration::from_secs(u64::from(known.silences))
                    + Duration::from_nanos(position.into())
            };
            choices.push((
                (is_silent, key),
                Choice {
                    address,
                    wait,
                    permits: Arc::clone(&known.permits),
                    is_silent,
                },
            ));
        }
        choices.sort_by_key(|(key, _)| *key);
        choices.into_iter().map(|(_, choice)| choice).collect()
    }

    /// A server answered, whatever it said.
    pub(crate) fn answered(&self, address: SocketAddr, rtt: Duration, now: Instant) {
        let mut state = self.state();
        state.typical = Some(state.typical.map_or(rtt, |typical| (typical * 7 + rtt) / 8));
        let known = state.known(address, self.max_in_flight_per_server, now);
        known.silences = 0;
        known.rtt = Some(match known.rtt {
            None => (rtt, rtt / 2),
            Some((smoothed, variation)) => (
                (smoothed * 7 + rtt) / 8,
                (variation * 3 + smoothed.abs_diff(rtt)) / 4,
            ),
        });
    }

    /// A server did not answer in the time given.
    pub(crate) fn was_silent(&self, address: SocketAddr, now: Instant) {
        let mut state = self.state();
        let known = state.known(address, self.max_in_flight_per_server, now);
        // Many questions at once that find it silent are one silence.
        if known.silences == 0 || now.duration_since(known.silent_since) >= self.first_timeout / 2 {
            known.silences = known.silences.saturating_add(1);
            known.silent_since = now;
        }
    }

    /// A server does not serve a zone that was delegated to it.
    pub(crate) fn is_lame(&self, address: SocketAddr, zone: &Name, now: Instant) {
        let mut state = self.state();
        if state.lame.len() >= MAX_KNOWN {
            state.lame.retain(|_, until| now < *until);
            if state.lame.len() >= MAX_KNOWN {
                state.lame.clear();
            }
        }
        state.lame.insert((address, zone.clone()), now + LAME_FOR);
        let permits = self.max_in_flight_per_server;
        state.known(address, permits, now).is_lame = true;
    }
}

impl State {
    fn is_lame(&self, address: SocketAddr, zone: &Name, now: Instant) -> bool {
        let known = self.known.get(&address);
        known.is_some_and(|known| known.is_lame)
            && self
                .lame
                .get(&(address, zone.clone()))
                .is_some_and(|until| now < *until)
    }

    fn known(&mut self, address: SocketAddr, permits: usize, now: Instant) -> &mut Known {
        if self.known.len() >= MAX_KNOWN && !self.known.contains_key(&address) {
            // Those in use live on in the hands of their users.
            self.known.clear();
        }
        self.known.entry(address).or_insert_with(|| Known {
            permits: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            rtt: None,
            silences: 0,
            silent_since: now,
            is_lame: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        ([240, 0, 0, last], 53).into()
    }

    fn order(servers: &Servers, random: u64) -> Vec<u8> {
        let addresses = [address(1), address(2), address(3)];
        let zone = Name::from_ascii("isp.example.").unwrap();
        let choices = servers.order(&addresses, &zone, random, Instant::now());
        choices
            .iter()
            .map(|choice| match choice.address {
                SocketAddr::V4(v4) => v4.ip().octets()[3],
                SocketAddr::V6(_) => 0,
            })
            .collect()
    }

    fn is_silent(servers: &Servers, now: Instant) -> bool {
        let choices = servers.order(&[address(1)], &Name::root(), 0, now);
        choices[0].is_silent
    }

    fn servers(adapts: bool) -> Servers {
        Servers::new(Duration::from_millis(400), 4, adapts)
    }

    #[test]
    fn fast_servers_come_first_and_equals_share() {
        let servers = servers(true);
        let firsts: std::collections::BTreeSet<u8> = (0..64u64)
            .map(|seed| order(&servers, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))[0])
            .collect();
        assert_eq!(firsts.len(), 3, "all are tried");
        let now = Instant::now();
        servers.answered(address(1), Duration::from_millis(200), now);
        servers.answered(address(2), Duration::from_millis(10), now);
        servers.answered(address(3), Duration::from_millis(200), now);
        for seed in 0..64u64 {
            assert_eq!(
                order(&servers, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))[0],
                2
            );
        }
    }

    #[test]
    fn a_silent_server_comes_last_until_it_answers() {
        let servers = servers(true);
        let now = Instant::now();
        servers.answered(address(1), Duration::from_millis(1), now);
        let later = |seconds: u32| now + Duration::from_secs(seconds.into());
        for _ in 0..SILENT_AFTER {
            servers.was_silent(address(1), now);
        }
        assert!(
            !is_silent(&servers, later(0)),
            "one silence of many questions"
        );
        for seconds in 1..SILENT_AFTER {
            servers.was_silent(address(1), later(seconds));
        }
        assert!(is_silent(&servers, later(SILENT_AFTER)));
        assert_eq!(order(&servers, 0)[2], 1);
        servers.answered(address(1), Duration::from_millis(1), now);
        assert!(!is_silent(&servers, later(SILENT_AFTER)));
    }

    #[test]
    fn a_lame_server_is_left_out_for_its_zone_only() {
        let servers = servers(true);
        let now = Instant::now();
        servers.is_lame(
            address(2),
            &Name::from_ascii("other.example.").unwrap(),
            now,
        );
        assert_eq!(order(&servers, 0).len(), 3);
        servers.is_lame(address(2), &Name::from_ascii("ISP.example.").unwrap(), now);
        assert!(!order(&servers, 0).contains(&2));
    }

    #[test]
    fn recursive_servers_are_asked_in_their_order() {
        let servers = servers(false);
        assert_eq!(order(&servers, 77), [1, 2, 3]);
        servers.was_silent(address(1), Instant::now());
        assert_eq!(order(&servers, 77), [2, 3, 1]);
    }

    #[test]
    fn memory_is_bounded() {
        let servers = servers(true);
        let zone = Name::root();
        let now = Instant::now();
        for number in 0..50_000u32 {
            let address = SocketAddr::from((number.to_be_bytes(), 53));
            servers.was_silent(address, now);
            servers.is_lame(address, &zone, now);
        }
        let state = servers.state();
        assert!(state.known.len() <= MAX_KNOWN && state.lame.len() <= MAX_KNOWN);
    }
}
