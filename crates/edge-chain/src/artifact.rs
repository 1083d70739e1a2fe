//! The compiled escrow that this build knows, from `contracts/ExecEscrow.json`.

use std::sync::LazyLock;

use alloy::primitives::{B256, Bytes, keccak256};
use serde::Deserialize;

/// The checked-in artifact as text.
const ARTIFACT: &str = include_str!("../../../contracts/ExecEscrow.json");

/// The escrow's code.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Escrow {
    /// What a deploying transaction carries; there are no constructor arguments.
    pub creation_bytecode: Bytes,
    /// What then stands at the contract's address; it has no immutables, so it is the same everywhere.
    pub runtime_bytecode: Bytes,
}

impl Escrow {
    /// The artifact, parsed once.
    pub(crate) fn artifact() -> &'static Self {
        static PARSED: LazyLock<Escrow> = LazyLock::new(|| {
            serde_json::from_str(ARTIFACT).expect("the checked-in artifact parses, see the test")
        });
        &PARSED
    }

    /// keccak-256 of the runtime code, as `EXTCODEHASH` gives it.
    pub(crate) fn runtime_hash(&self) -> B256 {
        keccak256(&self.runtime_bytecode)
    }
}

/// keccak-256 of the runtime code of the escrow that this build knows.
pub fn escrow_code_hash() -> edge_types::Hash32 {
    edge_types::Hash32(Escrow::artifact().runtime_hash().0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_artifact_parses() {
        let escrow = Escrow::artifact();
        assert!(escrow.creation_bytecode.ends_with(&escrow.runtime_bytecode));
        assert!(escrow.runtime_bytecode.len() < 24_576, "EIP-170");
    }
}
