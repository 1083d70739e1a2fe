//! What the two parties of an agreement sign where no chain holds the money, and the file in which people pass it on.

use edge_types::{Acceptance, Amount, Closing, Offer, Signature};
use serde::{Deserialize, Serialize};

use crate::codec::{AmountJson, as_text, optional_text};
use crate::limits::{self, require};
use crate::message::{ConfirmationMessage, OfferMessage};
use crate::{Message, WireError};

/// The buyer's acceptance with the confirmation that it rests on. Decoding does not verify the signatures:
/// [`crate::signing::verify_acceptance`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptanceMessage {
    /// The provider's word.
    pub confirmation: ConfirmationMessage,
    /// The buyer's.
    #[serde(with = "as_text")]
    pub signature: Signature,
}

impl From<Acceptance> for AcceptanceMessage {
    fn from(acceptance: Acceptance) -> Self {
        Self {
            confirmation: ConfirmationMessage(acceptance.confirmation),
            signature: acceptance.signature,
        }
    }
}

impl From<AcceptanceMessage> for Acceptance {
    fn from(message: AcceptanceMessage) -> Self {
        Self {
            confirmation: message.confirmation.0,
            signature: message.signature,
        }
    }
}

impl AcceptanceMessage {
    pub(crate) fn validate(&self) -> Result<(), WireError> {
        let until = self.confirmation.0.until;
        require(limits::is_time(until), "confirmation.until", "a time")
    }
}

/// A contract that two parties made without a chain, as people pass it between them: in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContractFile {
    /// The version of this form: 1.
    pub exec_contract: u32,
    /// The offer as the provider signed it.
    pub offer: OfferMessage,
    /// The provider's word on it to the buyer.
    pub confirmation: ConfirmationMessage,
    /// The buyer's signature; none until it has signed.
    #[serde(
        default,
        with = "optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub acceptance: Option<Signature>,
}

impl ContractFile {
    /// The version that this build writes and reads.
    pub const VERSION: u32 = 1;

    /// Offer and acceptance, once both have signed.
    pub fn signed(&self) -> Option<(Offer, Acceptance)> {
        let acceptance = Acceptance {
            confirmation: self.confirmation.0,
            signature: self.acceptance?,
        };
        Some((self.offer.0.clone(), acceptance))
    }
}

impl Message for ContractFile {
    fn validate(&self) -> Result<(), WireError> {
        let version = Self::VERSION;
        require(self.exec_contract == version, "exec_contract", "1")?;
        self.offer.validate()?;
        let until = self.confirmation.0.until;
        require(limits::is_time(until), "confirmation.until", "a time")
    }
}

/// A party's signature under a division. Decoding does not verify it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosingMessage {
    /// What the provider gets.
    #[serde(with = "AmountJson")]
    pub due: Amount,
    /// The signature.
    #[serde(with = "as_text")]
    pub signature: Signature,
}

impl From<Closing> for ClosingMessage {
    fn from(closing: Closing) -> Self {
        Self {
            due: closing.due,
            signature: closing.signature,
        }
    }
}

impl From<ClosingMessage> for Closing {
    fn from(message: ClosingMessage) -> Self {
        Self {
            due: message.due,
            signature: message.signature,
        }
    }
}
