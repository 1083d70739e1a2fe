//! Which server is asked when, how often, and how many at a time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use edge_discovery::{Answer, NoAnswer, Question, Security};
use edge_ports::{BoxFuture, NameLookup};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::exchange::{ExchangeFailure, exchange};
use crate::wire::{CASE_OCTETS, Chain, Reading, SentQuery, question_name, read, record_type};

/// How to ask. The defaults suit a resolver up to some 100 ms away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverConfig {
    /// Servers, at least one. The first that answers is kept to; the next is asked when it fails.
    pub servers: Vec<SocketAddr>,
    /// Time for the first attempt; doubles with each further one.
    pub first_timeout: Duration,
    /// Attempts per question, all servers together; at least one is made.
    pub attempts: u32,
    /// Questions under way at a time, over all servers.
    pub max_in_flight: usize,
    /// Questions under way at a time to one server.
    pub max_in_flight_per_server: usize,
    /// Believe the AD bit. Right only where the servers validate and the path to them is safe, e.g. on loopback.
    pub trusts_authentic_data: bool,
}

impl ResolverConfig {
    /// Asks `servers`: up to 3 attempts of 0.4, 0.8 and 1.6 s, 128 questions at a time, AD bit not believed.
    pub const fn new(servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            first_timeout: Duration::from_millis(400),
            attempts: 3,
            max_in_flight: 128,
            max_in_flight_per_server: 128,
            trusts_authentic_data: false,
        }
    }
}

/// A configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolverError {
    /// There is no server.
    #[error("no resolver address is configured")]
    NoServer,
    /// A limit of zero would wait for ever.
    #[error("the number of questions at a time is zero")]
    NoConcurrency,
}

/// A label of 16 hexadecimal digits that nobody can guess, for `DiscoveryConfig::new`.
///
/// # Errors
/// The system gives no random numbers.
pub fn random_label() -> Result<String, RandomnessError> {
    getrandom::u64()
        .map(|number| format!("{number:016x}"))
        .map_err(RandomnessError)
}

/// The system gives no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("drawing a random label failed")]
pub struct RandomnessError(#[source] getrandom::Error);

/// Asks DNS servers over UDP and TCP. Needs a tokio runtime with IO and time.
#[derive(Debug)]
pub struct Resolver {
    config: ResolverConfig,
    in_flight: Semaphore,
    in_flight_per_server: Vec<Semaphore>,
    /// Index of the server that answered last.
    preferred: AtomicUsize,
}

impl Resolver {
    /// Opens nothing yet.
    ///
    /// # Errors
    /// The configuration names no server or allows no question.
    pub fn new(config: ResolverConfig) -> Result<Self, ResolverError> {
        if config.servers.is_empty() {
            return Err(ResolverError::NoServer);
        }
        if config.max_in_flight == 0 || config.max_in_flight_per_server == 0 {
            return Err(ResolverError::NoConcurrency);
        }
        let permits = |wanted: usize| Semaphore::new(wanted.min(Semaphore::MAX_PERMITS));
        Ok(Self {
            in_flight: permits(config.max_in_flight),
            in_flight_per_server: config
                .servers
                .iter()
                .map(|_| permits(config.max_in_flight_per_server))
                .collect(),
            preferred: AtomicUsize::new(0),
            config,
        })
    }

    async fn ask(&self, question: &Question) -> Answer {
        let Some(mut name) = question_name(question) else {
            return Answer::Unanswered(NoAnswer::Malformed {
                detail: "a name that cannot be asked for",
            });
        };
        let kind = record_type(question.kind);
        let mut chain = Chain {
            ttl_seconds: u32::MAX,
            security: Security::Secure,
            aliases: 0,
        };
        // Each round passes at least one alias, whose number is bounded.
        loop {
            let message = match self.ask_servers(&name, kind).await {
                Ok(message) => message,
                Err(reason) => return Answer::Unanswered(reason),
            };
            chain.security = chain.security.min(self.security(&message));
            match read(&message, &name, kind, &mut chain) {
                Reading::Done(answer) => return answer,
                Reading::Alias { next } => name = next,
            }
        }
    }

    /// A validating server sets AD on what it proved, and answers nothing where that failed.
    const fn security(&self, message: &Message) -> Security {
        match (
            self.config.trusts_authentic_data,
            message.metadata.authentic_data,
        ) {
            (false, _) => Security::Indeterminate,
            (true, false) => Security::Insecure,
            (true, true) => Security::Secure,
        }
    }

    async fn ask_servers(&self, name: &Name, kind: RecordType) -> Result<Message, NoAnswer> {
        let Ok(_permit) = self.in_flight.acquire().await else {
            return Err(NoAnswer::Unreachable);
        };
        let started = Instant::now();
        let n_servers = self.config.servers.len();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut wait = self.config.first_timeout;
        let mut refusal = None;
        let mut failure = NoAnswer::Unreachable;
        for attempt in 0..self.config.attempts.max(1) as usize {
            let index = (first + attempt) % n_servers;
            match self.attempt(index, name, kind, wait).await {
                Ok(message) if is_conclusive(&message) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(message);
                }
                Ok(message) => {
                    refusal = Some(message);
                    if attempt + 1 >= n_servers {
                        break;
                    }
                }
                Err(NoAnswer::TimedOut { .. }) => {
                    wait = wait.saturating_mul(2);
                    failure = NoAnswer::TimedOut {
                        after: started.elapsed(),
                    };
                }
                Err(other) => failure = other,
            }
        }
        refusal.ok_or(failure)
    }

    async fn attempt(
        &self,
        index: usize,
        name: &Name,
        kind: RecordType,
        wait: Duration,
    ) -> Result<Message, NoAnswer> {
        let Ok(_permit) = self.in_flight_per_server[index].acquire().await else {
            return Err(NoAnswer::Unreachable);
        };
        let mut random = [0; 2 + CASE_OCTETS];
        getrandom::fill(&mut random).map_err(|_| NoAnswer::Unreachable)?;
        let [id_high, id_low, case @ ..] = random;
        let id = u16::from_be_bytes([id_high, id_low]);
        let query = SentQuery::new(name, kind, id, &case).ok_or(NoAnswer::Malformed {
            detail: "a name that cannot be asked for",
        })?;
        match timeout(wait, exchange(self.config.servers[index], &query)).await {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(ExchangeFailure::Unreachable)) => Err(NoAnswer::Unreachable),
            Ok(Err(ExchangeFailure::Malformed(detail))) => Err(NoAnswer::Malformed { detail }),
            Err(_) => Err(NoAnswer::TimedOut { after: wait }),
        }
    }
}

/// Has the server answered the question, rather than declined?
fn is_conclusive(message: &Message) -> bool {
    matches!(
        message.metadata.response_code,
        ResponseCode::NoError | ResponseCode::NXDomain
    )
}

impl NameLookup for Resolver {
    fn lookup<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer> {
        Box::pin(self.ask(question))
    }
}
