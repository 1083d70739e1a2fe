//! The bodies of requests and answers.

use edge_types::{
    AgreementId, AgreementState, Amount, ChainAddress, ChainId, Confirmation, Generation,
    HealthCheck, IepId, ImageReference, IpNet, Offer, Preferences, Receipt, ReservationId,
    ResourceLimits, Settlement, Signature, Slot, UtcTime, Workload, WorkloadState,
};
use serde::{Deserialize, Serialize};

use crate::codec::{
    AgreementStateJson, AmountJson, ChainIdJson, ConfirmationJson, GenerationJson, HealthJson,
    IepIdJson, ImageJson, LimitsJson, OfferJson, PreferencesJson, SlotJson, UtcTimeJson,
    WorkloadStateJson, as_text, egress, environment, optional_confirmation,
};
use crate::contract::{AcceptanceMessage, ClosingMessage};
use crate::limits::{self, require};
use crate::problem::ProblemJson;
use crate::{Message, Problem, WireError};

/// The version of the API that this crate speaks.
pub const VERSION: u32 = 1;

/// Answer to `GET /`: who answers here. Valid only if the protocol is ours; until one came, an address gets a single
/// connection (security rule 5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// Always `exec`.
    pub protocol: String,
    /// Versions of the API, each below its own `/exec/v<n>`.
    pub versions: Vec<u32>,
    /// Program and version, for people.
    pub software: String,
    /// The key that signs offers and is paid.
    #[serde(with = "as_text")]
    pub provider: ChainAddress,
    /// The site as its provider names it.
    #[serde(with = "IepIdJson")]
    pub site: IepId,
    /// The chain that it settles on; 0 for none.
    #[serde(with = "ChainIdJson")]
    pub chain: ChainId,
    /// `contact`, `escrow`, `allowance`.
    pub settlements: Vec<String>,
    /// `oci`.
    pub runtimes: Vec<String>,
}

impl Message for Greeting {
    fn validate(&self) -> Result<(), WireError> {
        require(self.protocol == "exec", "protocol", "exec")?;
        require(
            self.versions.len() <= 16 && self.versions.contains(&VERSION),
            "versions",
            "a list with version 1",
        )?;
        require(
            limits::text(&self.software, 128),
            "software",
            "at most 128 octets",
        )?;
        require(
            [&self.settlements, &self.runtimes]
                .iter()
                .all(|list| list.len() <= 16 && list.iter().all(|word| limits::text(word, 32))),
            "settlements and runtimes",
            "at most 16 words",
        )
    }
}

/// Body of `POST /hello`: what the orchestrator would like to rent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hello(#[serde(with = "PreferencesJson")] pub Preferences);

impl Message for Hello {
    fn validate(&self) -> Result<(), WireError> {
        require(
            limits::text(&self.0.application, 64),
            "application",
            "at most 64 octets",
        )?;
        limits::slot(&self.0.slot)?;
        limits::hardware(&self.0.hardware)
    }
}

/// A signed offer. Decoding does not verify the signature: [`crate::signing::verify_offer`] does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OfferMessage(#[serde(with = "OfferJson")] pub Offer);

/// A provider's confirmation, alone. Decoding does not verify the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfirmationMessage(#[serde(with = "ConfirmationJson")] pub Confirmation);

impl Message for OfferMessage {
    fn validate(&self) -> Result<(), WireError> {
        limits::slot(&self.0.slot)?;
        limits::hardware(&self.0.hardware)?;
        limits::sla(&self.0.sla)?;
        require(limits::is_time(self.0.expires), "expires", "a time")?;
        let text_url = &self.0.conditions.content.text_url;
        require(
            text_url.as_deref().is_none_or(limits::is_url),
            "conditions.content.text_url",
            "an http or https URL of at most 255 octets",
        )?;
        if let Settlement::Contact(contact) = &self.0.settlement {
            require(
                limits::text(contact, 256),
                "settlement.contact",
                "at most 256 octets",
            )?;
        }
        Ok(())
    }
}

/// Answer to `POST /hello`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offers {
    /// At most 16.
    pub offers: Vec<OfferMessage>,
}

impl Message for Offers {
    fn validate(&self) -> Result<(), WireError> {
        require(self.offers.len() <= 16, "offers", "at most 16")?;
        self.offers.iter().try_for_each(Message::validate)
    }
}

/// Body of `POST /reservations`: the offer to hold, in full, so that an offer costs its provider no memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReservationRequest {
    /// The offer as the provider signed it.
    pub offer: OfferMessage,
}

impl Message for ReservationRequest {
    fn validate(&self) -> Result<(), WireError> {
        self.offer.validate()
    }
}

/// Answer to `POST /reservations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Names it in the agreement.
    #[serde(with = "as_text")]
    pub id: ReservationId,
    /// Until then the escrow must be funded.
    #[serde(with = "UtcTimeJson")]
    pub expires: UtcTime,
    /// The provider's word to bring along with the money, unless it answers on the ledger. Decoding does not verify it:
    /// [`crate::signing::verify_confirmation`] does.
    #[serde(
        default,
        with = "optional_confirmation",
        skip_serializing_if = "Option::is_none"
    )]
    pub confirmation: Option<Confirmation>,
}

impl Message for Reservation {
    fn validate(&self) -> Result<(), WireError> {
        require(limits::is_time(self.expires), "expires", "a time")?;
        let until = self.confirmation.map(|confirmation| confirmation.until);
        require(
            until.is_none_or(limits::is_time),
            "confirmation.until",
            "a time",
        )
    }
}

/// Body of `POST /agreements`, the paper's positive acknowledgment: the money for this offer is in escrow, or here is the
/// buyer's signature where no chain holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgreementRequest {
    /// The offer taken up; its id is the agreement's.
    pub offer: OfferMessage,
    /// The reservation that held the slot until now; of a contract that people made, nothing is asked about it.
    #[serde(with = "as_text")]
    pub reservation: ReservationId,
    /// The buyer's acceptance, for an offer that no chain holds the money of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acceptance: Option<AcceptanceMessage>,
}

impl Message for AgreementRequest {
    fn validate(&self) -> Result<(), WireError> {
        self.offer.validate()?;
        self.acceptance
            .as_ref()
            .map_or(Ok(()), AcceptanceMessage::validate)
    }
}

/// Answer to `POST /agreements`, `GET /agreements/{id}`, `POST …/receipts` and `POST …/close`: how the provider sees it.
/// The ledger decides; this says what the provider knows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgreementView {
    /// Which agreement.
    #[serde(with = "as_text")]
    pub id: AgreementId,
    /// Where it stands.
    #[serde(with = "AgreementStateJson")]
    pub state: AgreementState,
    /// The period.
    #[serde(with = "SlotJson")]
    pub slot: Slot,
    /// The sum of the latest receipt.
    #[serde(with = "AmountJson")]
    pub due: Amount,
    /// Why it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ProblemJson>,
    /// How the provider divided the deposit for good, in its signed words, where no chain shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing: Option<ClosingMessage>,
}

impl AgreementView {
    /// Why the provider rejected, if it did and said why.
    pub fn reject_reason(&self) -> Option<edge_types::RejectReason> {
        match self.problem.clone().map(Problem::from) {
            Some(Problem::Rejected(reason)) => Some(reason),
            _ => None,
        }
    }
}

impl Message for AgreementView {
    fn validate(&self) -> Result<(), WireError> {
        limits::slot(&self.slot)
    }
}

/// Body of `PUT /agreements/{id}/deployment`: what to run, and where to send clients when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// Only goes up.
    #[serde(with = "GenerationJson")]
    pub generation: Generation,
    /// What to run.
    #[serde(with = "ImageJson")]
    pub image: ImageReference,
    /// What to show to the registry when pulling (security rule 12); this agreement's alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_token: Option<String>,
    /// Program and arguments; empty takes the image's own.
    #[serde(default)]
    pub command: Vec<String>,
    /// Environment, beside the image's own.
    #[serde(default, with = "environment")]
    pub environment: Vec<(String, String)>,
    /// TCP port on which the service listens inside.
    pub service_port: u16,
    /// What it may reach outside, by port inside.
    #[serde(default, with = "egress")]
    pub egress: Vec<(u16, std::net::SocketAddr)>,
    /// What it may use.
    #[serde(with = "LimitsJson")]
    pub limits: ResourceLimits,
    /// How to tell that it serves.
    #[serde(with = "HealthJson")]
    pub health: HealthCheck,
    /// `http://authority` of the application's cloud service, to which clients are sent back while draining.
    pub origin: String,
}

impl Deployment {
    /// `workload`, with `origin` to send clients back to, and no image token.
    pub fn new(workload: Workload, origin: String) -> Self {
        Self {
            generation: workload.generation,
            image: workload.image,
            image_token: None,
            command: workload.command,
            environment: workload.environment,
            service_port: workload.service_port,
            egress: workload.egress,
            limits: workload.limits,
            health: workload.health,
            origin,
        }
    }

    /// The workload, and the origin.
    pub fn into_parts(self) -> (Workload, String) {
        let workload = Workload {
            generation: self.generation,
            image: self.image,
            command: self.command,
            environment: self.environment,
            service_port: self.service_port,
            egress: self.egress,
            limits: self.limits,
            health: self.health,
        };
        (workload, self.origin)
    }
}

impl Message for Deployment {
    fn validate(&self) -> Result<(), WireError> {
        let without_nul = |text: &String| text.len() <= 4096 && !text.contains('\0');
        require(
            limits::is_repository(&self.image.repository),
            "image.repository",
            "lower-case parts, at most 128 octets",
        )?;
        require(
            self.image_token.as_ref().is_none_or(|token| {
                (1..=1024).contains(&token.len())
                    && token.bytes().all(|byte| byte.is_ascii_graphic())
            }),
            "image_token",
            "at most 1024 printable octets",
        )?;
        require(
            self.command.len() <= 64 && self.command.iter().all(without_nul),
            "command",
            "at most 64 arguments of 4096 octets without NUL",
        )?;
        require(
            self.environment.len() <= 64
                && self
                    .environment
                    .iter()
                    .all(|(name, value)| limits::is_variable_name(name) && without_nul(value)),
            "environment",
            "at most 64 variables with portable names",
        )?;
        require(self.service_port != 0, "service_port", "1 to 65535")?;
        require(
            self.egress.len() <= 16
                && self
                    .egress
                    .iter()
                    .all(|&(port, address)| port != 0 && address.port() != 0),
            "egress",
            "at most 16 entries with ports from 1 to 65535",
        )?;
        require(
            self.limits.milli_cpu > 0 && self.limits.memory_bytes > 0 && self.limits.pids > 0,
            "limits",
            "no part is zero",
        )?;
        require(
            limits::is_path(&self.health.path),
            "health.path",
            "an absolute path of at most 255 octets",
        )?;
        require(
            (1..=600).contains(&self.health.start_timeout.as_secs()),
            "health.start_timeout_seconds",
            "1 to 600",
        )?;
        require(
            limits::is_origin(&self.origin),
            "origin",
            "http:// and an authority",
        )
    }
}

/// Answer to `PUT` and `GET /agreements/{id}/deployment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentView {
    /// The generation in force; 0 before the first.
    #[serde(with = "GenerationJson")]
    pub generation: Generation,
    /// Where it stands.
    #[serde(flatten, with = "WorkloadStateJson")]
    pub state: WorkloadState,
    /// Round trips to client networks that the site measured lately; at most 1,024.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub round_trips: Vec<ClientRoundTrip>,
}

/// How far clients are from a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientRoundTrip {
    /// Their network.
    #[serde(with = "as_text")]
    pub clients: IpNet,
    /// The round trip in microseconds.
    pub micros: u32,
}

impl Message for DeploymentView {
    fn validate(&self) -> Result<(), WireError> {
        require(
            self.round_trips.len() <= 1024,
            "round_trips",
            "at most 1,024",
        )?;
        match &self.state {
            WorkloadState::Failed { reason } => {
                require(reason.len() <= 512, "reason", "at most 512 octets")
            }
            _ => Ok(()),
        }
    }
}

/// Body of `POST /agreements/{id}/receipts`: the buyer's word on everything due so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptMessage {
    /// The agreement; must be the one in the path.
    #[serde(with = "as_text")]
    pub agreement: AgreementId,
    /// Everything due up to now.
    #[serde(with = "AmountJson")]
    pub due: Amount,
    /// The buyer's EIP-712 signature of both.
    #[serde(with = "as_text")]
    pub signature: Signature,
}

impl From<Receipt> for ReceiptMessage {
    fn from(receipt: Receipt) -> Self {
        Self {
            agreement: receipt.agreement,
            due: receipt.due,
            signature: receipt.signature,
        }
    }
}

impl From<ReceiptMessage> for Receipt {
    fn from(message: ReceiptMessage) -> Self {
        Self {
            agreement: message.agreement,
            due: message.due,
            signature: message.signature,
        }
    }
}

impl Message for ReceiptMessage {
    fn validate(&self) -> Result<(), WireError> {
        Ok(())
    }
}

/// Body of `POST /agreements/{id}/close`: end it now rather than at the end of the slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseRequest {
    /// Why, for people; at most 256 octets.
    pub reason: String,
    /// The buyer's final receipt, by which the provider settles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptMessage>,
}

impl Message for CloseRequest {
    fn validate(&self) -> Result<(), WireError> {
        require(
            limits::text(&self.reason, 256),
            "reason",
            "at most 256 octets",
        )
    }
}
