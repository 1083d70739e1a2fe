//! Signing with a key that never leaves its adapter.

use std::fmt;

use edge_types::{ChainAddress, Hash32, Signature};

/// A secp256k1 key.
pub trait Signer: Send + Sync + fmt::Debug {
    /// The key's account.
    fn address(&self) -> ChainAddress;
    /// Signs a digest (of EIP-712 data) as it is.
    fn sign_digest(&self, digest: Hash32) -> Signature;
}
