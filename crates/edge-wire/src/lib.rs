//! The versioned JSON of the IEP API, and what is signed in it.
//!
//! An independent edge provider's entry point speaks REST under [`BASE`] (paper section 2.2). This crate turns the
//! bodies into the words of `edge-types` and back, and computes and checks the EIP-712
//! signatures of offers, receipts and requests. It opens no connection, reads no clock and decides nothing.
//!
//! Everything decoded comes from a stranger: [`decode`] refuses bodies above [`MAX_BODY_BYTES`] and checks every length
//! and range before it hands out a value. Unknown fields are refused in requests and ignored in answers, so that a newer
//! provider can tell an older orchestrator more, but is never asked for something that it silently leaves out.
//!
//! ```
//! use edge_wire::{decode, encode, message::Greeting};
//! let text = br#"{"protocol":"exec","versions":[1],"software":"x/1",
//!     "provider":"0x00000000000000000000000000000000000000aa",
//!     "site":{"host":"edge.isp.example","port":80},"chain":0,"settlements":["contact"],"runtimes":["oci"]}"#;
//! let greeting: Greeting = decode(text).unwrap();
//! assert_eq!(decode::<Greeting>(&encode(&greeting)).unwrap(), greeting);
//! ```

mod codec;
pub mod contract;
#[doc(hidden)]
pub mod fuzzing;
mod limits;
pub mod listing;
pub mod message;
pub mod nel;
pub mod openapi;
pub mod problem;
pub mod prose;
pub mod relay;
pub mod services;
pub mod signing;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use problem::Problem;

/// Where the API lives below the entry point's authority; the version is part of it.
pub const BASE: &str = "/exec/v1";

/// No body of this API, in either direction, is larger (security rule 5).
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Longest token of a bounced client, in characters.
pub const MAX_BOUNCE_TOKEN: usize = 1024;

/// Media type of every body but a problem.
pub const JSON: &str = "application/json";

/// A body that this API sends or accepts.
pub trait Message: Serialize + DeserializeOwned {
    /// Checks the lengths and ranges that the JSON itself does not express.
    fn validate(&self) -> Result<(), WireError>;
}

/// A body is not a message of this API.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Longer than [`MAX_BODY_BYTES`].
    #[error("a body of {length} octets is above the limit of {MAX_BODY_BYTES}")]
    TooLarge {
        /// Its length in octets.
        length: usize,
    },
    /// Not JSON of the expected shape.
    #[error("reading the JSON failed")]
    Json(#[source] serde_json::Error),
    /// A field's value is out of range.
    #[error("field {field} is not acceptable: {expected}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What is acceptable.
        expected: &'static str,
    },
}

/// The JSON of `message`.
///
/// # Panics
/// Never: messages hold no maps with keys that are not text, the one thing that JSON cannot express.
pub fn encode<T: Message>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).expect("messages are plain structures of text and numbers")
}

/// Reads and validates a message.
pub fn decode<T: Message>(body: &[u8]) -> Result<T, WireError> {
    if body.len() > MAX_BODY_BYTES {
        return Err(WireError::TooLarge { length: body.len() });
    }
    let message: T = serde_json::from_slice(body).map_err(WireError::Json)?;
    message.validate()?;
    Ok(message)
}
