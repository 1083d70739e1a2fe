//! What the orchestrator writes down of its agreements, so that its next process goes on where this one was.
//!
//! One store in the state directory, by the offer's id. Agreements that are over stay for a while, so that one can ask how
//! they went and so that the spending caps count them after a restart.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edge_discovery::TlsPin;
use edge_http::challenge::ChallengeKey;
use edge_http::entry_tls::Transport;
use edge_journal::{JournalError, Keep, Store, StoreLimits};
use edge_negotiation::{NegotiationFailure, NegotiationRecord, NegotiationState};
use edge_types::{AgreementId, Offer, RejectReason, UtcTime};
use edge_wire::Problem;
use edge_wire::message::{ConfirmationMessage, OfferMessage};
use edge_wire::problem::ProblemJson;
use serde::{Deserialize, Serialize};

use crate::sites::with_cause;

mod intervals;

use intervals::IntervalEntry;

const KIND: &str = "agreements of an orchestrator";
/// The key of what is not an agreement.
const SPENDING: &str = "spending";
/// Agreements that are over are kept for the caps at least a day …
const KEEP_SECONDS: u64 = 24 * 3600;
/// … and beyond that as long as there are no more than this.
const MOST_OVER: usize = 2048;
/// Steps of one agreement that are kept.
const MOST_STEPS: usize = 40;

/// The file of the agreements in an orchestrator's state directory.
pub fn journal_file(state_directory: &Path) -> PathBuf {
    state_directory.join("agreements.jsonl")
}

/// One agreement, or an attempt at one, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where the negotiation stands.
    pub record: NegotiationRecord,
    /// The address of the entry point.
    pub entry_point: SocketAddr,
    /// How the entry point is spoken to: as when it made the offer, and never less safely.
    pub transport: Transport,
    /// Client-facing address, once the provider named it.
    pub serving_at: Option<SocketAddr>,
    /// With which the site pulls the image.
    pub image_token: Option<String>,
    /// With which its container answers challenges, once it was deployed.
    pub challenge: Option<ChallengeKey>,
    /// When a plan selected it.
    pub began: UtcTime,
    /// How it came to be what it is, oldest first.
    pub steps: Vec<(UtcTime, String)>,
}

impl Written {
    /// Its id.
    pub fn id(&self) -> AgreementId {
        self.record.offer.id.into()
    }

    /// Notes a step; of many, the first and the latest are kept.
    pub fn step(&mut self, at: UtcTime, what: String) {
        if self.steps.last().is_some_and(|(_, last)| *last == what) {
            return;
        }
        if self.steps.len() >= MOST_STEPS {
            self.steps.remove(MOST_STEPS / 2);
        }
        self.steps.push((at, what));
    }

    /// The same but for what was measured meanwhile, which a restart finds out again?
    pub fn differs_only_in_measurements(&self, other: &Self) -> bool {
        let plain = |written: &Self| {
            let mut plain = written.clone();
            plain.record.served = Duration::ZERO;
            plain.record.intervals.clear();
            plain.record.good_at = plain.record.good_at.map(|_| UtcTime(0));
            plain
        };
        plain(self) == plain(other)
    }
}

/// The open store.
#[derive(Debug)]
pub struct AgreementStore {
    store: Store<Entry>,
}

/// Everything that was written down.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Agreements, those that are over included.
    pub agreements: Vec<Written>,
    /// Is all spending stopped?
    pub spending_stopped: bool,
}

impl Recovered {
    /// Reads the journal of an orchestrator that may be running.
    pub fn peek(file: &Path) -> Result<Self, JournalError> {
        let entries = Store::peek(file, KIND)?;
        Self::of(entries.values(), file)
    }

    fn of<'a>(entries: impl Iterator<Item = &'a Entry>, file: &Path) -> Result<Self, JournalError> {
        let mut recovered = Self::default();
        for (number, entry) in (2..).zip(entries) {
            match entry.clone() {
                Entry::Spending { is_stopped } => recovered.spending_stopped = is_stopped,
                Entry::Agreement(entry) => {
                    let damaged = JournalError::Damaged {
                        path: file.to_owned(),
                        line: number,
                    };
                    recovered.agreements.push(entry.read().ok_or(damaged)?);
                }
            }
        }
        Ok(recovered)
    }
}

impl AgreementStore {
    /// Opens or makes the store in a state directory.
    pub fn open(state_directory: &Path) -> Result<(Self, Recovered), JournalError> {
        let file = journal_file(state_directory);
        let (store, torn) = Store::open(&file, KIND, StoreLimits::default())?;
        if let Some(torn) = torn {
            tracing::warn!(
                octets = torn.octets,
                "the last decision before the end was not written out"
            );
        }
        let recovered = Recovered::of(store.iter().map(|(_, entry)| entry), &file)?;
        Ok((Self { store }, recovered))
    }

    /// Is anything written down of this agreement?
    pub fn knows(&self, id: AgreementId) -> bool {
        self.store.get(&id.to_string()).is_some()
    }

    /// Writes one agreement down.
    pub fn write(&mut self, written: &Written) -> Result<(), JournalError> {
        let entry = Entry::Agreement(Box::new(AgreementEntry::of(written)));
        self.store.put(&written.id().to_string(), entry, Keep::Disk)
    }

    /// Writes down whether all spending is stopped.
    pub fn write_spending(&mut self, is_stopped: bool) -> Result<(), JournalError> {
        self.store
            .put(SPENDING, Entry::Spending { is_stopped }, Keep::Disk)
    }

    /// Forgets the oldest of the agreements that are over.
    pub fn forget(&mut self, now: UtcTime) -> Result<(), JournalError> {
        let mut over: Vec<(u64, String)> = self
            .store
            .iter()
            .filter_map(|(key, entry)| match entry {
                Entry::Agreement(entry) if entry.state.is_final() => {
                    Some((entry.began, key.to_owned()))
                }
                _ => None,
            })
            .collect();
        over.sort_unstable();
        let surplus = over.len().saturating_sub(MOST_OVER);
        for (began, key) in over.into_iter().take(surplus) {
            if now.seconds_since(UtcTime(began)) > KEEP_SECONDS {
                self.store.remove(&key)?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry {
    Agreement(Box<AgreementEntry>),
    Spending { is_stopped: bool },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgreementEntry {
    state: State,
    offer: OfferMessage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reservation: Option<(String, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    confirmation: Option<ConfirmationMessage>,
    was_paid: bool,
    was_deployed: bool,
    receipt_sent: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stops_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rejection: Option<ProblemJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    served_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    good_at: Option<u64>,
    entry_point: SocketAddr,
    /// TLSA records, none for certificate authorities; absent for plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    serving_at: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image_token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    challenge: Option<String>,
    began: u64,
    steps: Vec<(u64, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    intervals: Vec<IntervalEntry>,
}

/// Where it stands, once it was selected.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Awaiting,
    Reserving,
    Reserved,
    Proposed,
    Acknowledged,
    Confirmed,
    Deploying,
    Running,
    Draining,
    Settling,
    Settled,
    Rejected(ProblemJson),
    Expired,
    Failed(String),
}

impl State {
    const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Settled | Self::Rejected(_) | Self::Expired | Self::Failed(_)
        )
    }

    fn of(state: &NegotiationState) -> Self {
        use NegotiationState as S;
        match state {
            S::Idle | S::HelloSent | S::Offered | S::Reserving => Self::Reserving,
            S::AwaitingContract => Self::Awaiting,
            S::Reserved => Self::Reserved,
            S::Proposed => Self::Proposed,
            S::Acknowledged => Self::Acknowledged,
            S::Confirmed => Self::Confirmed,
            S::Deploying => Self::Deploying,
            S::Running => Self::Running,
            S::Draining => Self::Draining,
            S::Settling => Self::Settling,
            S::Settled => Self::Settled,
            S::Rejected(reason) => Self::Rejected(problem(reason)),
            S::Expired => Self::Expired,
            S::Failed(failure) => Self::Failed(with_cause(failure)),
        }
    }

    fn read(self) -> Option<NegotiationState> {
        use NegotiationState as S;
        Some(match self {
            Self::Awaiting => S::AwaitingContract,
            Self::Reserving => S::Reserving,
            Self::Reserved => S::Reserved,
            Self::Proposed => S::Proposed,
            Self::Acknowledged => S::Acknowledged,
            Self::Confirmed => S::Confirmed,
            Self::Deploying => S::Deploying,
            Self::Running => S::Running,
            Self::Draining => S::Draining,
            Self::Settling => S::Settling,
            Self::Settled => S::Settled,
            Self::Rejected(reason) => S::Rejected(rejection(reason)?),
            Self::Expired => S::Expired,
            Self::Failed(failure) => S::Failed(NegotiationFailure::Earlier(failure)),
        })
    }
}

fn problem(reason: &RejectReason) -> ProblemJson {
    ProblemJson::from(&Problem::Rejected(reason.clone()))
}

fn rejection(problem: ProblemJson) -> Option<RejectReason> {
    match Problem::from(problem) {
        Problem::Rejected(reason) => Some(reason),
        _ => None,
    }
}

impl AgreementEntry {
    fn of(written: &Written) -> Self {
        let record = &written.record;
        Self {
            state: State::of(&record.state),
            offer: OfferMessage(record.offer.clone()),
            reservation: record
                .reservation
                .map(|(id, until)| (id.to_string(), until.0)),
            confirmation: record.confirmation.map(ConfirmationMessage),
            was_paid: record.was_paid,
            was_deployed: record.was_deployed,
            receipt_sent: record.receipt_sent,
            stops_at: record.stops_at.map(|stop| stop.0),
            rejection: record.rejection.as_ref().map(problem),
            failure: record.failure.as_ref().map(|failure| with_cause(failure)),
            served_ms: u64::try_from(record.served.as_millis()).unwrap_or(u64::MAX),
            good_at: record.good_at.map(|at| at.0),
            entry_point: written.entry_point,
            tls: match &written.transport {
                Transport::Plain => None,
                Transport::Authorities => Some(Vec::new()),
                Transport::Pins(pins) => Some(pins.iter().map(ToString::to_string).collect()),
            },
            serving_at: written.serving_at,
            image_token: written.image_token.clone(),
            challenge: written.challenge.as_ref().map(ToString::to_string),
            began: written.began.0,
            steps: written
                .steps
                .iter()
                .map(|(at, what)| (at.0, what.clone()))
                .collect(),
            intervals: record.intervals.iter().map(IntervalEntry::of).collect(),
        }
    }

    fn read(self) -> Option<Written> {
        let reservation = match self.reservation {
            Some((id, until)) => Some((id.parse().ok()?, UtcTime(until))),
            None => None,
        };
        let rejection = match self.rejection {
            Some(problem) => Some(rejection(problem)?),
            None => None,
        };
        let offer: Offer = self.offer.0;
        let transport = match self.tls {
            None => Transport::Plain,
            Some(pins) if pins.is_empty() => Transport::Authorities,
            Some(pins) => {
                let pins = pins.iter().map(|pin| pin.parse().ok());
                Transport::Pins(pins.collect::<Option<Vec<TlsPin>>>()?)
            }
        };
        Some(Written {
            record: NegotiationRecord {
                state: self.state.read()?,
                offer,
                reservation,
                confirmation: self.confirmation.map(|message| message.0),
                was_paid: self.was_paid,
                was_deployed: self.was_deployed,
                receipt_sent: self.receipt_sent,
                stops_at: self.stops_at.map(UtcTime),
                rejection,
                failure: self.failure.map(NegotiationFailure::Earlier),
                served: Duration::from_millis(self.served_ms),
                good_at: self.good_at.map(UtcTime),
                intervals: self
                    .intervals
                    .into_iter()
                    .map(IntervalEntry::read)
                    .collect(),
            },
            entry_point: self.entry_point,
            transport,
            serving_at: self.serving_at,
            image_token: self.image_token,
            challenge: match self.challenge {
                Some(key) => Some(key.parse().ok()?),
                None => None,
            },
            began: UtcTime(self.began),
            steps: self
                .steps
                .into_iter()
                .map(|(at, what)| (UtcTime(at), what))
                .collect(),
        })
    }
}
