//! The ledger: a client for Ethereum-like chains, the escrow contract, and a development chain.
//!
//! [`client::EthLedger`] implements [`edge_ports::Ledger`] over JSON-RPC, the same code for a development chain and for
//! a public one. [`dev`] is a chain of one node for trying things out: real signatures, a real EVM, the same contract,
//! and no consensus. [`keys`] holds keys. Only this crate knows the contract's ABI; what the contract must do is
//! written down as the model in `edge_negotiation::escrow` and compared with it by the tests.
//!
//! It does not watch events (state is polled and reconciled by its users) and does not decide anything.

mod abi;
mod artifact;
pub mod client;
pub mod dev;
#[cfg(test)]
mod escrow_tests;
pub mod keys;
mod keystore;

pub use artifact::escrow_code_hash;
pub use client::EthLedger;
pub use keys::LocalKey;
