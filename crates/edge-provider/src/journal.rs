//! What the agent writes down, so that its next process goes on where this one was.
//!
//! One store in the state directory: reservations, agreements and the workloads that run under them, by id. Offers,
//! receipts, refusals and workloads are written as they go over the wire.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use edge_journal::{JournalError, Keep, Store, StoreLimits};
use edge_negotiation::provider::{Doubt, Ending};
use edge_negotiation::{Agreement, Change, Reservation, Stage};
use edge_types::{
    AgreementId, AgreementState, Amount, Claim, Generation, OfferId, Receipt, RejectReason, UtcTime,
};
use edge_wire::Problem;
use edge_wire::message::{Deployment, OfferMessage, ReceiptMessage};
use edge_wire::problem::ProblemJson;
use serde::{Deserialize, Serialize};

const KIND: &str = "agreements of a provider";

/// The file of the agreements in a provider's state directory.
pub fn journal_file(state_directory: &Path) -> PathBuf {
    state_directory.join("agreements.jsonl")
}

/// The open store.
#[derive(Debug)]
pub(crate) struct Written {
    store: Store<Entry>,
}

/// Everything that was written down.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Reservations.
    pub reservations: Vec<Reservation>,
    /// Agreements.
    pub agreements: Vec<Agreement>,
    /// What runs under them, and where.
    pub deployments: BTreeMap<AgreementId, (SocketAddr, Deployment)>,
}

impl Recovered {
    /// Reads the journal of an agent that may be running.
    pub fn peek(file: &Path) -> Result<Self, JournalError> {
        let entries = Store::peek(file, KIND)?;
        Self::of(
            entries.iter().map(|(key, entry)| (key.as_str(), entry)),
            file,
        )
    }

    fn of<'a>(
        entries: impl Iterator<Item = (&'a str, &'a Entry)>,
        file: &Path,
    ) -> Result<Self, JournalError> {
        let mut recovered = Self::default();
        for (number, (_, entry)) in (2..).zip(entries) {
            let damaged = || JournalError::Damaged {
                path: file.to_owned(),
                line: number,
            };
            match entry.clone() {
                Entry::Reservation(entry) => {
                    recovered
                        .reservations
                        .push(entry.read().ok_or_else(damaged)?);
                }
                Entry::Agreement(entry) => {
                    recovered.agreements.push(entry.read().ok_or_else(damaged)?);
                }
                Entry::Deployment(entry) => {
                    let id = entry.agreement.parse().map_err(|_| damaged())?;
                    let deployed = (entry.address, entry.deployment);
                    recovered.deployments.insert(id, deployed);
                }
            }
        }
        Ok(recovered)
    }
}

impl Written {
    pub(crate) fn open(state_directory: &Path) -> Result<(Self, Recovered), JournalError> {
        let file = journal_file(state_directory);
        let (store, torn) = Store::open(&file, KIND, StoreLimits::default())?;
        if let Some(torn) = torn {
            tracing::warn!(
                octets = torn.octets,
                "the last decision before the end was not written out"
            );
        }
        let recovered = Recovered::of(store.iter(), &file)?;
        Ok((Self { store }, recovered))
    }

    pub(crate) fn write(&mut self, change: &Change) -> Result<(), JournalError> {
        match change {
            Change::Reservation(id, Some(held)) => {
                let entry = Entry::Reservation(ReservationEntry::of(held));
                // Who has our confirmation can pay without asking again.
                let keep = if held.offer.guarantee.answer_seconds == 0 {
                    Keep::Disk
                } else {
                    Keep::Process
                };
                self.store.put(&held_key(*id), entry, keep)
            }
            Change::Reservation(id, None) => self.store.remove(&held_key(*id)),
            Change::Agreement(id, Some(agreement)) => {
                let entry = Entry::Agreement(Box::new(AgreementEntry::of(agreement)));
                self.store.put(&agreement_key(*id), entry, Keep::Disk)
            }
            Change::Agreement(id, None) => self.store.remove(&agreement_key(*id)),
        }
    }

    pub(crate) fn deployed(
        &mut self,
        id: AgreementId,
        address: SocketAddr,
        deployment: Deployment,
    ) -> Result<(), JournalError> {
        let entry = Entry::Deployment(Box::new(DeploymentEntry {
            agreement: id.to_string(),
            address,
            deployment,
        }));
        self.store.put(&deployment_key(id), entry, Keep::Disk)
    }

    pub(crate) fn stopped(&mut self, id: AgreementId) -> Result<(), JournalError> {
        self.store.remove(&deployment_key(id))
    }
}

fn held_key(id: OfferId) -> String {
    format!("reservation {id}")
}

fn agreement_key(id: AgreementId) -> String {
    format!("agreement {id}")
}

fn deployment_key(id: AgreementId) -> String {
    format!("deployment {id}")
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry {
    Reservation(ReservationEntry),
    Agreement(Box<AgreementEntry>),
    Deployment(Box<DeploymentEntry>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReservationEntry {
    id: String,
    offer: OfferMessage,
    buyer: String,
    source: String,
    paid_by: u64,
    until: u64,
}

impl ReservationEntry {
    fn of(held: &Reservation) -> Self {
        Self {
            id: held.id.to_string(),
            offer: OfferMessage(held.offer.clone()),
            buyer: held.buyer.to_string(),
            source: held.source.to_string(),
            paid_by: held.paid_by.0,
            until: held.until.0,
        }
    }

    fn read(self) -> Option<Reservation> {
        Some(Reservation {
            id: self.id.parse().ok()?,
            offer: self.offer.0,
            buyer: self.buyer.parse().ok()?,
            source: self.source.parse().ok()?,
            paid_by: UtcTime(self.paid_by),
            until: UtcTime(self.until),
        })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeploymentEntry {
    agreement: String,
    address: SocketAddr,
    deployment: Deployment,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgreementEntry {
    offer: OfferMessage,
    buyer: String,
    state: StateWord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<ProblemJson>,
    generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptMessage>,
    /// In units of the asset of the price.
    deposit: String,
    ends_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notice: Option<u64>,
    /// Receipt and claim, in units of the asset of the price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claim: Option<(String, String)>,
    #[serde(default)]
    served_seconds: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runs_since: Option<u64>,
    closed_by_buyer: bool,
    stage: StageWord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ending: Option<EndingWord>,
    receipt_at: u64,
    changed_at: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StateWord {
    Proposed,
    Confirmed,
    Claimed,
    Disputed,
    Rejected,
    Expired,
    Settled,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StageWord {
    Answering,
    Serving,
    Draining,
    Settling { at: u64, attempts: u32 },
    Closed,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum EndingWord {
    SlotOver,
    ClosedByBuyer,
    NoReceipts,
    Reclaimed,
    NotFunded,
    NotOnLedger,
    NotAnswered,
    NotSettled,
}

/// Pairs of the words of a type and those of the journal, both ways.
macro_rules! words {
    ($type:ident, $word:ident, $($variant:ident),*) => {
        impl From<$type> for $word {
            fn from(value: $type) -> Self {
                match value { $($type::$variant => Self::$variant),* }
            }
        }
        impl From<$word> for $type {
            fn from(word: $word) -> Self {
                match word { $($word::$variant => Self::$variant),* }
            }
        }
    };
}

words!(
    AgreementState,
    StateWord,
    Proposed,
    Confirmed,
    Claimed,
    Disputed,
    Rejected,
    Expired,
    Settled
);
words!(
    Ending,
    EndingWord,
    SlotOver,
    ClosedByBuyer,
    NoReceipts,
    Reclaimed,
    NotFunded,
    NotOnLedger,
    NotAnswered,
    NotSettled
);

impl From<Stage> for StageWord {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Answering => Self::Answering,
            Stage::Serving => Self::Serving,
            Stage::Draining => Self::Draining,
            Stage::Settling { at, attempts } => Self::Settling { at: at.0, attempts },
            Stage::Closed => Self::Closed,
        }
    }
}

impl From<StageWord> for Stage {
    fn from(word: StageWord) -> Self {
        match word {
            StageWord::Answering => Self::Answering,
            StageWord::Serving => Self::Serving,
            StageWord::Draining => Self::Draining,
            StageWord::Settling { at, attempts } => Self::Settling {
                at: UtcTime(at),
                attempts,
            },
            StageWord::Closed => Self::Closed,
        }
    }
}

impl AgreementEntry {
    fn of(agreement: &Agreement) -> Self {
        let problem = |reason: &RejectReason| ProblemJson::from(&Problem::Rejected(reason.clone()));
        Self {
            offer: OfferMessage(agreement.offer.clone()),
            buyer: agreement.buyer.to_string(),
            state: agreement.state.into(),
            reason: agreement.reason.as_ref().map(problem),
            generation: agreement.generation.0,
            receipt: agreement.receipt.map(ReceiptMessage::from),
            deposit: agreement.deposit.units.to_string(),
            ends_at: agreement.ends_at.0,
            notice: agreement.notice.map(|stop| stop.0),
            claim: agreement.claim.map(|claim| {
                let units = |amount: Amount| amount.units.to_string();
                (units(claim.floor), units(claim.amount))
            }),
            served_seconds: agreement.served_seconds,
            runs_since: agreement.runs_since.map(|since| since.0),
            closed_by_buyer: agreement.closed_by_buyer,
            stage: agreement.stage.into(),
            ending: agreement.ending.map(EndingWord::from),
            receipt_at: agreement.receipt_at.0,
            changed_at: agreement.changed_at.0,
        }
    }

    fn read(self) -> Option<Agreement> {
        let OfferMessage(offer) = self.offer;
        let reason = match self.reason.map(Problem::from) {
            None => None,
            Some(Problem::Rejected(reason)) => Some(reason),
            Some(_) => return None,
        };
        let amount = |units: &str| {
            Some(Amount {
                units: units.parse().ok()?,
                ..offer.price_per_second
            })
        };
        let claim = match &self.claim {
            Some((floor, claimed)) => Some(Claim {
                floor: amount(floor)?,
                amount: amount(claimed)?,
            }),
            None => None,
        };
        Some(Agreement {
            buyer: self.buyer.parse().ok()?,
            state: self.state.into(),
            reason,
            generation: Generation(self.generation),
            receipt: self.receipt.map(Receipt::from),
            deposit: amount(&self.deposit)?,
            ends_at: UtcTime(self.ends_at),
            notice: self.notice.map(UtcTime),
            claim,
            served_seconds: self.served_seconds,
            runs_since: self.runs_since.map(UtcTime),
            closed_by_buyer: self.closed_by_buyer,
            stage: self.stage.into(),
            ending: self.ending.map(Ending::from),
            receipt_at: UtcTime(self.receipt_at),
            changed_at: UtcTime(self.changed_at),
            doubt: Doubt::default(),
            offer,
        })
    }
}

#[cfg(test)]
mod tests {
    use edge_types::{
        ChainAddress, HardwareProfile, Hash32, ReservationId, Settlement, Signature, SlaTerms, Slot,
    };

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let offer = edge_types::Offer {
            id: OfferId([1; 32]),
            provider: ChainAddress([2; 20]),
            buyer: Some(ChainAddress([3; 20])),
            site: edge_types::IepId {
                host: "edge.isp.example".parse().unwrap(),
                port: 80,
            },
            slot: Slot {
                start: UtcTime(100),
                end: UtcTime(200),
            },
            hardware: HardwareProfile {
                milli_cpu: 1,
                memory_bytes: 1 << 20,
                pids: 3,
            },
            price_per_second: Amount::wei(7),
            sla: SlaTerms {
                text_hash: Hash32([4; 32]),
                availability_ppm: 5,
                receipt_interval_seconds: 6,
                notice_seconds: 7,
                round_trip_ms: 0,
            },
            conditions: edge_types::SiteConditions::default(),
            guarantee: edge_types::Guarantee {
                stake: 11,
                arbiter: Some(ChainAddress([12; 20])),
                answer_seconds: 13,
            },
            settlement: Settlement::Contact("call us".to_owned()),
            expires: UtcTime(150),
            nonce: Hash32([5; 32]),
            signature: Signature([6; 65]),
        };
        let id = AgreementId::from(offer.id);
        let held = Reservation {
            id: ReservationId([7; 32]),
            offer: offer.clone(),
            buyer: ChainAddress([8; 20]),
            source: "192.0.2.0/24".parse().unwrap(),
            paid_by: UtcTime(110),
            until: UtcTime(120),
        };
        let mut agreement = Agreement {
            offer,
            buyer: ChainAddress([8; 20]),
            state: AgreementState::Confirmed,
            reason: Some(RejectReason::SlotTaken),
            generation: Generation(3),
            receipt: Some(Receipt {
                agreement: id,
                due: Amount::wei(70),
                signature: Signature([9; 65]),
            }),
            deposit: Amount::wei(700),
            ends_at: UtcTime(190),
            notice: Some(UtcTime(190)),
            claim: Some(Claim {
                floor: Amount::wei(70),
                amount: Amount::wei(90),
            }),
            served_seconds: 60,
            runs_since: Some(UtcTime(170)),
            closed_by_buyer: true,
            stage: Stage::Settling {
                at: UtcTime(195),
                attempts: 2,
            },
            ending: Some(Ending::NoReceipts),
            receipt_at: UtcTime(180),
            changed_at: UtcTime(190),
            doubt: Doubt::default(),
        };
        let folder = tempfile::tempdir().unwrap();
        let (mut written, recovered) = Written::open(folder.path()).unwrap();
        assert!(recovered.agreements.is_empty());
        let change =
            |agreement: &Agreement| Change::Agreement(id, Some(Box::new(agreement.clone())));
        written
            .write(&Change::Reservation(
                OfferId([1; 32]),
                Some(Box::new(held.clone())),
            ))
            .unwrap();
        written.write(&change(&agreement)).unwrap();
        agreement.stage = Stage::Closed;
        agreement.reason = None;
        written.write(&change(&agreement)).unwrap();
        drop(written);
        let (mut written, recovered) = Written::open(folder.path()).unwrap();
        assert_eq!(recovered.agreements, [agreement]);
        assert_eq!(recovered.reservations, [held]);
        written.write(&Change::Agreement(id, None)).unwrap();
        let file = journal_file(folder.path());
        assert!(Recovered::peek(&file).unwrap().agreements.is_empty());
    }
}
