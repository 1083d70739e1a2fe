//! What a resolver is told, and how one question is followed to its end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use edge_discovery::{Answer, NoAnswer, Question, Security};
use edge_ports::{BoxFuture, NameLookup};
use edge_types::AddressPolicy;
use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::NS;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::race::{Judgement, Manners, Sender};
use crate::validate::{TrustAnchor, Validator};
use crate::vanguard::Vanguard;
use crate::walk::Walk;
use crate::wire::{
    Asking, Chain, Reading, bogus_by_extended_error, question_name, read, record_type,
};

/// How to ask.
#[derive(Clone, Debug)]
pub struct ResolverConfig {
    /// Servers, at least one: see `mode`.
    pub servers: Vec<SocketAddr>,
    /// What they are.
    pub mode: Mode,
    /// How long to wait for the first answer before asking again or elsewhere; doubles with each further round. A
    /// server asked directly is waited for as long as its earlier answers took, and never longer than this.
    pub first_timeout: Duration,
    /// Attempts per query, all servers together; at least one is made, and one at each of several servers. All stay
    /// open until the time of the last is over.
    pub attempts: u32,
    /// Queries under way at a time, over all servers. A source port takes up to 32 of them.
    pub max_in_flight: usize,
    /// Queries under way at a time to one server.
    pub max_in_flight_per_server: usize,
    /// Queries sent per second, in the mean; 64 may leave at once.
    pub max_per_second: u32,
    /// Prove each answer from these keys, with further questions for the keys of zones. Without, answers are as good as
    /// `mode` makes them.
    pub trust_anchor: Option<TrustAnchor>,
}

/// Who finds the answers.
#[derive(Clone, Debug)]
pub enum Mode {
    /// The servers do, by asking others. The first that answers is kept to; the next is asked when it is late.
    Recursive {
        /// Believe the AD bit. Right only where the servers validate and the path to them is safe, e.g. on loopback.
        trusts_authentic_data: bool,
    },
    /// The servers are the root's, and we ask those of each zone ourselves, from the root down.
    Direct {
        /// Which addresses may be asked.
        policy: AddressPolicy,
        /// Where servers of zones listen: [`DNS_PORT`], but in tests.
        port: u16,
    },
}

/// Where name servers listen (RFC 1035 section 4.2).
pub const DNS_PORT: u16 = 53;

/// The servers of the Internet's root, as IANA lists them (`named.root` of 2024).
pub const ROOT_SERVERS: [IpAddr; 13] = [
    v4(198, 41, 0, 4),
    v4(170, 247, 170, 2),
    v4(192, 33, 4, 12),
    v4(199, 7, 91, 13),
    v4(192, 203, 230, 10),
    v4(192, 5, 5, 241),
    v4(192, 112, 36, 4),
    v4(198, 97, 190, 53),
    v4(192, 36, 148, 17),
    v4(192, 58, 128, 30),
    v4(193, 0, 14, 129),
    v4(199, 7, 83, 42),
    v4(202, 12, 27, 33),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::new(a, b, c, d))
}

impl ResolverConfig {
    /// Lets the recursive `servers` find the answers: up to 3 attempts of 0.4, 0.8 and 1.6 s, 128 queries at a time,
    /// AD bit not believed. This suits a resolver up to some 100 ms away.
    pub const fn new(servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            mode: Mode::Recursive {
                trusts_authentic_data: false,
            },
            first_timeout: Duration::from_millis(400),
            attempts: 3,
            max_in_flight: 128,
            max_in_flight_per_server: 128,
            max_per_second: 10_000,
            trust_anchor: None,
        }
    }

    /// Asks the servers of each zone directly, beginning with those of the root, e.g. [`ROOT_SERVERS`]; only at addresses
    /// that `policy` allows. 1,024 queries at a time, 128 to one server.
    pub fn direct(roots: Vec<SocketAddr>, policy: AddressPolicy) -> Self {
        Self {
            mode: Mode::Direct {
                policy,
                port: DNS_PORT,
            },
            max_in_flight: 1024,
            ..Self::new(roots)
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
    fetch: Arc<Fetch>,
    validator: Option<Validator>,
}

/// Fetches messages.
#[derive(Debug)]
pub(crate) struct Fetch {
    sender: Sender,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Recursive {
        servers: Vec<SocketAddr>,
        trusts_authentic_data: bool,
        vanguard: Vanguard,
    },
    Direct(Walk),
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
        let sender = Sender::new(Manners {
            first_timeout: config.first_timeout,
            attempts: config.attempts,
            max_in_flight: config.max_in_flight,
            max_in_flight_per_server: config.max_in_flight_per_server,
            max_per_second: config.max_per_second,
            adapts: matches!(config.mode, Mode::Direct { .. }),
        });
        let way = match config.mode {
            Mode::Recursive {
                trusts_authentic_data,
            } => Way::Recursive {
                servers: config.servers,
                trusts_authentic_data,
                vanguard: Vanguard::default(),
            },
            Mode::Direct { policy, port } => Way::Direct(Walk::new(config.servers, policy, port)),
        };
        let fetch = Arc::new(Fetch { sender, way });
        let validator = config
            .trust_anchor
            .map(|anchor| Validator::new(Arc::clone(&fetch), &anchor));
        Ok(Self { fetch, validator })
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
            let (message, security) = match self.fetch(&name, kind).await {
                Ok(fetched) => fetched,
                Err(reason) => return Answer::Unanswered(reason),
            };
            chain.security = chain.security.min(security);
            match read(&message, &name, kind, &mut chain) {
                Reading::Done(answer) => return answer,
                Reading::Alias { next } => name = next,
            }
        }
    }

    async fn fetch(&self, name: &Name, kind: RecordType) -> Result<(Message, Security), NoAnswer> {
        if let Some(validator) = &self.validator {
            return validator.fetch(name, kind).await;
        }
        let message = self.fetch.fetch(name, kind, false).await?;
        let security = self.fetch.security(&message);
        Ok((message, security))
    }
}

impl Fetch {
    /// A validating server sets AD on what it proved, and answers nothing where that failed.
    const fn security(&self, message: &Message) -> Security {
        match &self.way {
            Way::Recursive {
                trusts_authentic_data: true,
                ..
            } => {
                if message.metadata.authentic_data {
                    Security::Secure
                } else {
                    Security::Insecure
                }
            }
            Way::Recursive { .. } | Way::Direct(_) => Security::Indeterminate,
        }
    }

    /// The name servers of a zone as the zone above tells them, where that came along; not proven.
    pub(crate) fn delegated(&self, zone: &Name) -> Option<Message> {
        let Way::Direct(walk) = &self.way else {
            return None;
        };
        let (servers, ttl_seconds) = walk.delegated(zone)?;
        let mut message = no_servers(zone);
        for server in servers {
            let data = RData::NS(NS(server));
            message.add_answer(Record::from_rdata(zone.clone(), ttl_seconds, data));
        }
        Some(message)
    }

    /// That no zone begins at a name within a zone that is known: what is to be believed where its servers do not say. If it
    /// is wrong, signatures are missed, so that nothing is believed that must not be.
    pub(crate) fn undelegated(&self, name: &Name) -> Option<Message> {
        match &self.way {
            Way::Direct(walk) if walk.is_within_delegated(name) => Some(no_servers(name)),
            _ => None,
        }
    }

    /// A message about `name` from who should know, with `signatures` if wanted and there.
    pub(crate) async fn fetch(
        &self,
        name: &Name,
        kind: RecordType,
        signatures: bool,
    ) -> Result<Message, NoAnswer> {
        match &self.way {
            Way::Recursive {
                servers,
                trusts_authentic_data,
                vanguard,
            } => {
                let asking = Asking {
                    recursion: true,
                    signatures,
                };
                let judge = |message| judge_recursive(message, *trusts_authentic_data);
                let root = Name::root();
                let ask = self.sender.ask(servers, &root, (name, kind), asking, judge);
                vanguard.after_first(name, ask).await
            }
            Way::Direct(walk) => {
                let asking = Asking {
                    recursion: false,
                    signatures,
                };
                walk.fetch(&self.sender, name, kind, asking).await
            }
        }
    }
}

fn no_servers(name: &Name) -> Message {
    let mut message = Message::response(0, OpCode::Query);
    message.add_query(Query::query(name.clone(), RecordType::NS));
    message
}

/// Has the server answered the question, rather than declined? One that validates says why it declines (RFC 8914).
fn judge_recursive(message: Message, is_trusted: bool) -> Judgement<Message> {
    let response_code = message.metadata.response_code;
    if matches!(
        response_code,
        ResponseCode::NoError | ResponseCode::NXDomain
    ) {
        return Judgement::Decides(message);
    }
    let bogus = is_trusted.then(|| bogus_by_extended_error(&message));
    Judgement::Declined(bogus.flatten().unwrap_or(NoAnswer::Failed {
        response_code: response_code.into(),
    }))
}

impl NameLookup for Resolver {
    fn lookup<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer> {
        Box::pin(self.ask(question))
    }
}
