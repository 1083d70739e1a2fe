//! Walking down from the root: which servers are asked for a name.

mod hosts;
mod memory;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edge_discovery::NoAnswer;
use edge_types::AddressPolicy;
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RecordType};

use crate::delegation::{Word, judge};
use crate::race::Sender;
use crate::wire::Asking;
use memory::{Cut, Memory, octets_of};

/// Steps down for one name: no name has more labels that matter.
const MAX_STEPS: usize = 24;
/// Questions for addresses of servers, for addresses of their servers, and so on.
const MAX_DEPTH: usize = 4;
/// Rounds of asking that one question may cost, all servers' addresses counted.
const MAX_ROUNDS: u32 = 40;

/// Finds answers by asking the servers of zones directly.
#[derive(Debug)]
pub(crate) struct Walk {
    root: Arc<Cut>,
    policy: AddressPolicy,
    port: u16,
    memory: Mutex<Memory>,
}

/// Where a way down ended.
#[derive(Debug)]
enum Found {
    Message(Message),
    /// Of a server, at a zone above its own.
    Addresses(Vec<IpAddr>),
}

/// What one question may still cost.
#[derive(Debug)]
struct Purse {
    rounds: AtomicU32,
}

impl Purse {
    fn pay(&self) -> Result<(), NoAnswer> {
        self.rounds
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .map(drop)
            .map_err(|_| NoAnswer::Malformed {
                detail: "too many servers to ask on the way",
            })
    }
}

/// What is asked, and on whose account.
#[derive(Clone, Copy, Debug)]
struct Errand<'a> {
    name: &'a Name,
    kind: RecordType,
    asking: Asking,
    /// 0 for the question itself, more for addresses of servers on the way.
    depth: usize,
    purse: &'a Purse,
}

impl Walk {
    /// `roots` are the root's servers, those of other zones listen at `port`. Only addresses that `policy` allows are
    /// asked.
    pub(crate) fn new(roots: Vec<SocketAddr>, policy: AddressPolicy, port: u16) -> Self {
        Self {
            root: Arc::new(Cut::root(roots)),
            policy,
            port,
            memory: Mutex::default(),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The message of a server that serves the zone that `name` is in.
    pub(crate) async fn fetch(
        &self,
        sender: &Sender,
        name: &Name,
        kind: RecordType,
        asking: Asking,
    ) -> Result<Message, NoAnswer> {
        let purse = Purse {
            rounds: AtomicU32::new(MAX_ROUNDS),
        };
        let errand = Errand {
            name,
            kind,
            asking,
            depth: 0,
            purse: &purse,
        };
        match self.descend(sender, errand).await? {
            Found::Message(message) => Ok(message),
            Found::Addresses(_) => Err(NoAnswer::Malformed {
                detail: "addresses, but none were asked for",
            }),
        }
    }

    async fn descend(&self, sender: &Sender, errand: Errand<'_>) -> Result<Found, NoAnswer> {
        let octets = octets_of(errand.name);
        for _ in 0..MAX_STEPS {
            let cut = self.nearest(&octets, errand.kind);
            // What came along with a delegation is enough to ask a server, though not to answer a user.
            if errand.depth > 0
                && let Some(delegation) = &cut.delegation
                && let Some(addresses) = delegation.servers.get(errand.name)
                && !addresses.is_empty()
            {
                return Ok(Found::Addresses(addresses.clone()));
            }
            let mut own = None;
            // Only questions of users wait for each other: who finds a server's address waits for nobody, so that no
            // two can wait for one another.
            if errand.depth == 0
                && let Some(scout) = self.scout(&cut, &octets)
            {
                let look = async {
                    let word = self.ask(sender, &cut, errand).await;
                    let found = word.as_ref().map(|_| ()).map_err(Clone::clone);
                    own = Some(word);
                    found
                };
                let found = scout.found.get_or_init(|| look).await;
                if own.is_none() {
                    if let Err(reason @ (NoAnswer::TimedOut { .. } | NoAnswer::Unreachable)) = found
                    {
                        return Err(reason.clone());
                    }
                    if !Arc::ptr_eq(&self.nearest(&octets, errand.kind), &cut) {
                        continue;
                    }
                }
            }
            let word = match own {
                Some(word) => word,
                None => self.ask(sender, &cut, errand).await,
            };
            match word? {
                Word::Answer(message) => return Ok(Found::Message(message)),
                // Remembered already; the next step finds it.
                Word::Referral(_) => {}
            }
        }
        Err(NoAnswer::Malformed {
            detail: "too many referrals",
        })
    }

    /// Asks the servers of a zone: those whose addresses came with the delegation first.
    async fn ask(&self, sender: &Sender, cut: &Cut, errand: Errand<'_>) -> Result<Word, NoAnswer> {
        let mut failure = NoAnswer::Malformed {
            detail: "a delegation to servers without usable address",
        };
        if !cut.glued.is_empty() {
            match self.ask_at(sender, cut, &cut.glued, errand).await {
                Ok(word) => return Ok(word),
                Err(reason) => failure = reason,
            }
        }
        let (mut servers, is_all) = self.addresses(sender, cut, errand).await;
        if !servers.is_empty() {
            match self.ask_at(sender, cut, &servers, errand).await {
                Ok(word) => return Ok(word),
                Err(reason) => failure = reason,
            }
        }
        if !is_all {
            let (mut further, _) = self.gather(sender, cut, errand, None).await;
            further.retain(|server| !servers.contains(server));
            servers = further;
            if !servers.is_empty() {
                return self.ask_at(sender, cut, &servers, errand).await;
            }
        }
        Err(failure)
    }

    async fn ask_at(
        &self,
        sender: &Sender,
        cut: &Cut,
        servers: &[SocketAddr],
        errand: Errand<'_>,
    ) -> Result<Word, NoAnswer> {
        errand.purse.pay()?;
        let question = (errand.name, errand.kind);
        let word = sender
            .ask(servers, &cut.zone, question, errand.asking, |message| {
                judge(message, &cut.zone, question, &self.policy)
            })
            .await?;
        if let Word::Referral(delegation) = &word {
            self.remember(delegation.clone());
        }
        Ok(word)
    }
}
