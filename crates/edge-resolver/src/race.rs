//! One question to several servers: the next is asked as soon as one is late, and whoever answers first decides.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use edge_discovery::NoAnswer;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RecordType};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::dice::Dice;
use crate::exchange::{ExchangeFailure, exchange};
use crate::ports::Ports;
use crate::servers::{Choice, Servers};
use crate::wire::{Asking, CASE_OCTETS, SentQuery};

/// Packets that may leave at once before the pace is kept: what the receive buffer of a server takes by default.
const BURST: u32 = 64;
/// More servers than this are not asked one question.
const MAX_SERVERS: usize = 6;

/// What a reply is worth to the one who asked.
#[derive(Debug)]
pub(crate) enum Judgement<T> {
    /// It decides.
    Decides(T),
    /// This server will not tell; another may.
    Declined(NoAnswer),
    /// As `Declined`, and the server will not tell about anything else in the zone either.
    Lame(NoAnswer),
}

/// Sends queries: paced, bounded in number, over all questions.
#[derive(Debug)]
pub(crate) struct Sender {
    servers: Servers,
    ports: Ports,
    dice: Dice,
    in_flight: Semaphore,
    /// When the next packet may leave, were there no bursts.
    next: Mutex<Option<Instant>>,
    interval: Duration,
    attempts: u32,
    first_timeout: Duration,
}

/// How a sender behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    pub(crate) first_timeout: Duration,
    pub(crate) attempts: u32,
    pub(crate) max_in_flight: usize,
    pub(crate) max_in_flight_per_server: usize,
    pub(crate) max_per_second: u32,
    /// Do waits follow the round trips measured?
    pub(crate) adapts: bool,
}

struct Attempt {
    server: SocketAddr,
    result: Result<(Message, Duration), NoAnswer>,
}

impl Sender {
    pub(crate) fn new(manners: Manners) -> Self {
        Self {
            servers: Servers::new(
                manners.first_timeout,
                manners.max_in_flight_per_server,
                manners.adapts,
            ),
            // Where thousands of servers are asked, no port is worth binding to one.
            ports: Ports::new(!manners.adapts),
            dice: Dice::default(),
            in_flight: Semaphore::new(manners.max_in_flight.min(Semaphore::MAX_PERMITS)),
            next: Mutex::new(None),
            interval: Duration::from_secs(1) / manners.max_per_second.max(1),
            attempts: manners.attempts.max(1),
            first_timeout: manners.first_timeout,
        }
    }

    /// Asks `servers`, of which each is said to know about `zone`, until one answer decides or all had their chance.
    pub(crate) async fn ask<T>(
        &self,
        servers: &[SocketAddr],
        zone: &Name,
        (name, kind): (&Name, RecordType),
        asking: Asking,
        judge: impl Fn(Message) -> Judgement<T>,
    ) -> Result<T, NoAnswer> {
        let Ok(_permit) = self.in_flight.acquire().await else {
            return Err(NoAnswer::Unreachable);
        };
        let mut random = [0; 8];
        let drawn = self.dice.fill(&mut random);
        drawn.map_err(|_| NoAnswer::Unreachable)?;
        let random = u64::from_ne_bytes(random);
        let mut choices = self.servers.order(servers, zone, random, Instant::now());
        choices.truncate(MAX_SERVERS);
        if choices.is_empty() {
            return Err(if servers.is_empty() {
                NoAnswer::Unreachable
            } else {
                NoAnswer::Malformed {
                    detail: "servers that do not serve the zone",
                }
            });
        }
        let are_all_silent = choices.iter().all(|choice| choice.is_silent);
        // Where all were silent just before, one more attempt shows whether one came back.
        let attempts = if are_all_silent {
            1
        } else {
            self.attempts.max(u32::try_from(choices.len()).unwrap_or(0))
        };
        let started = Instant::now();
        let doublings = if are_all_silent {
            1
        } else {
            self.attempts.min(16)
        };
        let deadline = started + self.first_timeout.saturating_mul((1 << doublings) - 1);

        // Those that declined are not asked again.
        let mut left: Vec<Choice> = choices;
        let mut declined = None;
        let mut failure = NoAnswer::Unreachable;
        let launch = |left: &[Choice], position: usize| {
            let choice = left[position % left.len()].clone();
            let rounds = u32::try_from(position / left.len()).unwrap_or(0).min(8);
            let late = Late {
                at: Instant::now() + choice.wait * (1 << rounds),
                server: choice.address,
                has_left: Arc::default(),
            };
            let has_left = Arc::clone(&late.has_left);
            (late, self.attempt(choice, name, kind, asking, has_left))
        };
        // Nearly always the only one, so it needs no memory of its own.
        let (mut late, first) = launch(&left, 0);
        let (mut position, mut launched) = (1, 1);
        let mut first = std::pin::pin!(first.fuse());
        let mut is_first_open = true;
        let mut others = None;
        loop {
            let attempt = tokio::select! {
                biased;
                attempt = &mut first, if is_first_open => {
                    is_first_open = false;
                    Some(attempt)
                }
                attempt = next_of(&mut others) => Some(attempt),
                () = sleep_until(late.at.min(deadline)) => None,
            };
            let now = Instant::now();
            let is_alone = !is_first_open && others.as_ref().is_none_or(FuturesUnordered::is_empty);
            let is_next_due = if let Some(Attempt { server, result }) = attempt {
                let is_over = match result {
                    Ok((message, rtt)) => {
                        self.servers.answered(server, rtt, now);
                        match judge(message) {
                            Judgement::Decides(answer) => return Ok(answer),
                            Judgement::Declined(reason) => declined = Some(reason),
                            Judgement::Lame(reason) => {
                                self.servers.is_lame(server, zone, now);
                                declined = Some(reason);
                            }
                        }
                        true
                    }
                    Err(reason) => {
                        self.servers.was_silent(server, now);
                        let is_reached = matches!(reason, NoAnswer::Malformed { .. });
                        failure = reason;
                        !is_reached || left.len() > 1
                    }
                };
                if is_over
                    && let Some(index) = left.iter().position(|choice| choice.address == server)
                {
                    left.remove(index);
                    if index < position {
                        position -= 1;
                    }
                }
                // Somebody else at once, unless somebody else is being waited for already.
                late.server == server || is_alone
            } else {
                if late.has_left.load(Ordering::Relaxed) {
                    self.servers.was_silent(late.server, now);
                }
                failure = NoAnswer::TimedOut {
                    after: now.duration_since(started),
                };
                if now >= deadline {
                    return Err(declined.unwrap_or(failure));
                }
                true
            };
            if !is_next_due {
                continue;
            }
            if launched < attempts && !left.is_empty() {
                let (another_late, another) = launch(&left, position);
                late = another_late;
                position += 1;
                launched += 1;
                others
                    .get_or_insert_with(FuturesUnordered::new)
                    .push(another);
            } else if is_alone {
                return Err(declined.unwrap_or(failure));
            } else {
                late.at = deadline;
            }
        }
    }

    async fn attempt(
        &self,
        choice: Choice,
        name: &Name,
        kind: RecordType,
        asking: Asking,
        has_left: Arc<AtomicBool>,
    ) -> Attempt {
        let server = choice.address;
        let result = async {
            let Ok(_permit) = choice.permits.acquire().await else {
                return Err(NoAnswer::Unreachable);
            };
            self.pace().await;
            has_left.store(true, Ordering::Relaxed);
            let mut random = [0; 6 + CASE_OCTETS];
            let drawn = self.dice.fill(&mut random);
            drawn.map_err(|_| NoAnswer::Unreachable)?;
            let [p0, p1, p2, p3, id_high, id_low, case @ ..] = random;
            let id = u16::from_be_bytes([id_high, id_low]);
            let query =
                SentQuery::new(name, kind, asking, id, &case).ok_or(NoAnswer::Malformed {
                    detail: "a name that cannot be asked for",
                })?;
            let sent = Instant::now();
            match exchange(
                &self.ports,
                server,
                &query,
                u32::from_be_bytes([p0, p1, p2, p3]),
            )
            .await
            {
                Ok(message) => Ok((message, sent.elapsed())),
                Err(ExchangeFailure::Unreachable) => Err(NoAnswer::Unreachable),
                Err(ExchangeFailure::Malformed(detail)) => Err(NoAnswer::Malformed { detail }),
            }
        }
        .await;
        Attempt { server, result }
    }

    /// Waits until the next packet may leave.
    async fn pace(&self) {
        let turn = {
            let mut next = self.next.lock().await;
            let now = Instant::now();
            let turn = next.map_or(now, |next| next.max(now));
            *next = Some(turn + self.interval);
            turn
        };
        let ahead = self.interval * BURST;
        if turn > Instant::now() + ahead {
            sleep_until(turn - ahead).await;
        }
    }
}

/// When the attempt made last counts as late.
struct Late {
    at: Instant,
    server: SocketAddr,
    /// Has its query left, or does it wait for its turn?
    has_left: Arc<AtomicBool>,
}

/// What comes next of those that there are; waits for ever if there are none.
async fn next_of<F: Future>(others: &mut Option<FuturesUnordered<F>>) -> F::Output {
    if let Some(others) = others
        && let Some(output) = others.next().await
    {
        return output;
    }
    std::future::pending().await
}
