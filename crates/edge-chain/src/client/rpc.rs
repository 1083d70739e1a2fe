//! What a node's errors mean.

use alloy::transports::{RpcError, TransportError};
use edge_ports::LedgerError;

/// A node's no to a transaction, with its message.
#[derive(Debug)]
pub(super) enum SendRefusal {
    /// The nonce is used: somebody else sends with this key.
    Nonce(String),
    /// The fees are too low by now.
    Fees(String),
    /// Anything else; trying again would not help.
    Other(String),
}

/// What a failed question says about the ledger.
pub(super) fn read_error(attempted: &'static str) -> impl Fn(TransportError) -> LedgerError {
    move |error| match error {
        RpcError::ErrorResp(payload) => LedgerError::Refused {
            attempted,
            error: bounded(&payload.message),
        },
        RpcError::Transport(cause) => LedgerError::Unreachable {
            attempted,
            cause: Box::new(cause),
        },
        other => LedgerError::Malformed {
            attempted,
            detail: bounded(&other.to_string()),
        },
    }
}

/// What a failed `eth_sendRawTransaction` says; `None` if the node has the transaction already.
///
/// The standard gives no codes for these, so the messages of geth, reth, Nethermind, Besu and Anvil are looked for.
pub(super) fn send_refusal(
    attempted: &'static str,
) -> impl Fn(TransportError) -> Result<Option<SendRefusal>, LedgerError> {
    move |error| {
        let RpcError::ErrorResp(payload) = &error else {
            return Err(read_error(attempted)(error));
        };
        let message = payload.message.to_lowercase();
        let says = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
        let told = bounded(&payload.message);
        Ok(
            if says(&[
                "already known",
                "alreadyknown",
                "already imported",
                "known transaction",
            ]) {
                None
            } else if says(&[
                "nonce too low",
                "oldnonce",
                "replacement transaction underpriced",
            ]) {
                Some(SendRefusal::Nonce(told))
            } else if says(&[
                "max fee per gas less than block base fee",
                "underpriced",
                "feetoolow",
            ]) {
                Some(SendRefusal::Fees(told))
            } else {
                Some(SendRefusal::Other(told))
            },
        )
    }
}

/// A stranger's text, at most 256 characters of it.
fn bounded(text: &str) -> String {
    text.chars().take(256).collect()
}
