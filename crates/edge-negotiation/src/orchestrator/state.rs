//! The words of a negotiation: where it stands, what comes next, how fast, and why it failed.

use std::time::Duration;

use edge_types::{
    AgreementId, Amount, Confirmation, MonotonicTime, Offer, Preferences, RejectReason,
    ReservationId, UtcTime,
};

use crate::green_list::{GreenListRefusal, GreenListed};

/// Both clocks that a negotiation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For retries and measured service.
    pub monotonic: MonotonicTime,
    /// For slots and expiries.
    pub utc: UtcTime,
}

/// How fast and how often things are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// After this an action without a result counts as failed.
    pub action_timeout: Duration,
    /// Wait before an action is tried again; doubles with each failure, up to eight times.
    pub retry: Duration,
    /// Failures in a row after which an action is given up.
    pub attempts: u32,
    /// Time between two looks at the ledger.
    pub ledger_interval: Duration,
    /// Longest time between two looks at the ledger while the workload runs.
    pub compare_interval: Duration,
    /// Time between two health checks.
    pub health_interval: Duration,
    /// Time from the deployment's acceptance to the first good health check.
    pub start_timeout: Duration,
    /// Bad health checks in a row after which a running site is left.
    pub health_failures: u32,
    /// How long before its slot a workload is deployed, seconds.
    pub deploy_lead_seconds: u64,
    /// A payment may take so long to be in a block, seconds: what cannot be taken up that late is not paid any more, since the
    /// escrow would refuse it for a fee.
    pub payment_lead_seconds: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            action_timeout: Duration::from_secs(15),
            retry: Duration::from_millis(500),
            attempts: 4,
            ledger_interval: Duration::from_secs(1),
            compare_interval: Duration::from_secs(15),
            health_interval: Duration::from_secs(1),
            start_timeout: Duration::from_mins(1),
            health_failures: 3,
            deploy_lead_seconds: 20,
            payment_lead_seconds: 3,
        }
    }
}

/// Where a negotiation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NegotiationState {
    /// Not begun.
    Idle,
    /// Waiting for offers.
    HelloSent,
    /// An offer is green-listed; waiting to be selected by a plan.
    Offered,
    /// Selected; waiting for the contract that people make.
    AwaitingContract,
    /// Selected; asking for a reservation.
    Reserving,
    /// The slot is held; the money may move.
    Reserved,
    /// The money is in escrow; telling the provider.
    Proposed,
    /// The provider was told; waiting for its word on the ledger.
    Acknowledged,
    /// Agreed; waiting for the time to deploy.
    Confirmed,
    /// The workload is being handed over and started.
    Deploying,
    /// Clients can be sent there.
    Running,
    /// No client may be sent there any more.
    Draining,
    /// Waiting for the money to be divided.
    Settling,
    /// Final: the money is divided.
    Settled,
    /// Final: the provider does not want to; the money, if any, was credited back.
    Rejected(RejectReason),
    /// Final: the time for it ran out; the money, if any, was credited back.
    Expired,
    /// Final: it did not come to an agreement.
    Failed(NegotiationFailure),
}

impl NegotiationState {
    /// Can nothing change any more?
    pub const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Settled | Self::Rejected(_) | Self::Expired | Self::Failed(_)
        )
    }

    /// One word for people. `was_paid`: the payment was begun, see [`super::NegotiationRecord::was_paid`].
    pub const fn word(&self, was_paid: bool) -> &'static str {
        match self {
            Self::Idle | Self::HelloSent => "greeting",
            Self::Offered => "offered",
            Self::AwaitingContract => "awaiting contract",
            Self::Reserving => "reserving",
            Self::Reserved if was_paid => "paying",
            Self::Reserved => "reserved",
            Self::Proposed | Self::Acknowledged => "proposed",
            Self::Confirmed => "confirmed",
            Self::Deploying => "deploying",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Settling => "settling",
            Self::Settled => "settled",
            Self::Rejected(_) => "rejected",
            Self::Expired => "expired",
            Self::Failed(_) => "failed",
        }
    }

    /// Is money of ours in escrow, as far as we know?
    pub const fn is_funded(&self) -> bool {
        matches!(
            self,
            Self::Proposed
                | Self::Acknowledged
                | Self::Confirmed
                | Self::Deploying
                | Self::Running
                | Self::Draining
                | Self::Settling
        )
    }
}

/// Why a negotiation, or the service after it, failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationFailure {
    /// The IEP did not answer this step within its attempts.
    #[error("no usable answer to {step} in {attempts} attempts")]
    NoAnswer {
        /// `hello`, `reservation`, …
        step: &'static str,
        /// How many.
        attempts: u32,
    },
    /// It made no offer.
    #[error("no offer")]
    NoOffer,
    /// None of its offers is acceptable; why not the first.
    #[error("the offer is not green-listed")]
    NotGreenListed(#[source] GreenListRefusal),
    /// The ledger did not take the money.
    #[error("the ledger shows no payment")]
    NotFunded,
    /// The provider takes no money without its confirmation, and gave none that could be used.
    #[error("the provider's confirmation is missing, invalid or too short to pay in")]
    NotConfirmed,
    /// The provider has not put up what it promises to stake.
    #[error("the provider promises a stake of {promised} and has {free} in the escrow")]
    StakeMissing {
        /// In the offer, smallest units of its asset.
        promised: u128,
        /// What no agreement holds.
        free: u128,
    },
    /// The operator stopped all spending after the site was selected and before it was paid.
    #[error("all spending was stopped before the payment")]
    SpendingStopped,
    /// The ledger took the money under another id than the offer's: not our escrow.
    #[error("paid under another id than the offer's")]
    WrongAgreement,
    /// Without a chain, the provider did not take what it had confirmed.
    #[error("the provider does not take what it confirmed")]
    NotHonoured,
    /// The workload never served.
    #[error("the workload did not become healthy")]
    NeverHealthy,
    /// The workload stopped serving before the end.
    #[error("the workload stopped answering its health check")]
    Unhealthy,
    /// The provider took its hardware back before the end of the slot, after the agreed notice.
    #[error("the provider took its hardware back after notice")]
    Reclaimed,
    /// The ledger could not be read until long after every deadline; the money's fate is unknown.
    #[error("the ledger did not answer until after every deadline")]
    LedgerSilent,
    /// We stopped it ourselves.
    #[error("abandoned by the orchestrator")]
    Abandoned,
    /// What an earlier process of the orchestrator wrote down.
    #[error("{0}")]
    Earlier(String),
}

/// What to do next. Report back with the method named; a silent action times out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `POST /hello`; then [`super::Negotiation::handle_offers`].
    SendHello(Preferences),
    /// `POST /reservations`; then [`super::Negotiation::handle_reserved`].
    Reserve(Offer),
    /// Pay into escrow; then [`super::Negotiation::handle_proposed`]. Given once in a negotiation's life.
    Propose {
        /// The green-listed offer.
        offer: GreenListed,
        /// The provider's word to bring along; without it the provider answers on the ledger.
        confirmation: Option<Confirmation>,
    },
    /// Read the agreement and the chain's time; then [`super::Negotiation::handle_ledger`].
    ReadLedger(AgreementId),
    /// `POST /agreements`; then [`super::Negotiation::handle_acknowledged`].
    Acknowledge {
        /// The offer taken up.
        offer: Offer,
        /// The reservation held.
        reservation: ReservationId,
    },
    /// End on the ledger what time has decided: a payment that was not answered, a claim or dispute that ran out; then
    /// [`super::Negotiation::handle_done`].
    CloseOnLedger(AgreementId),
    /// `PUT …/deployment`; then [`super::Negotiation::handle_done`].
    Deploy(AgreementId),
    /// Ask through the client-facing address whether it serves; then [`super::Negotiation::handle_health`].
    CheckHealth(AgreementId),
    /// Sign and `POST …/receipts` over this sum; then [`super::Negotiation::handle_done`].
    SendReceipt(AgreementId, Amount),
    /// Sign and `POST …/close` with the final receipt over this sum; then [`super::Negotiation::handle_done`].
    SettleWithReceipt(AgreementId, Amount),
    /// Deny on the ledger what the provider claims; then [`super::Negotiation::handle_done`].
    Dispute(AgreementId),
    /// The provider did not divide the money in its time: do it on the ledger; then [`super::Negotiation::handle_done`].
    SettleOnLedger(AgreementId, Amount),
}
