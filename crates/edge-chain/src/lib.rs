//! The ledger: JSON-RPC client, escrow contract, and the development chain.
