//! A chain of one node, for development, demonstrations and tests.
//!
//! What is real: signatures and sender recovery, nonces, balances, fees, gas, the EVM (all of it, by `revm`), contract
//! code, block and transaction hashes, receipts, the JSON-RPC that clients of public chains use. What is not: there is
//! no consensus and no state trie (the state root in headers is zero), and the base fee is constant. Every accepted
//! transaction gets a block at once. When nothing happens, blocks without transactions are made as somebody looks, at
//! most one a second, so that the time of the latest block can be relied upon as on a chain with regular blocks.
//! `evm_increaseTime` puts that time ahead of the clock's.
//!
//! State survives a restart: `genesis.json` holds the parameters, `blocks.jsonl` every block's time and signed
//! transaction, and both are executed again at the start and compared by block hash. A half-written last line (power
//! failure) is cut off with a warning; anything else that does not fit stops the start.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use alloy::primitives::{Address, keccak256};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use edge_types::{ChainAddress, ChainId};
use tokio::net::TcpListener;

mod evm;
mod journal;
mod node;
mod rpc;

pub use journal::JournalError;

use node::Node;

/// Largest request body, octets; a transaction takes at most a quarter of it.
const MAX_BODY: usize = 512 * 1024;

/// Parameters of a development chain.
#[derive(Clone, Debug)]
pub struct DevConfig {
    /// Its number; must not be one of a chain with real money.
    pub chain: ChainId,
    /// Where it keeps its state; made if missing.
    pub data: PathBuf,
    /// Balances at the beginning, wei.
    pub fund: BTreeMap<ChainAddress, u128>,
    /// Put an escrow at [`dev_escrow_address`] at the beginning.
    pub deploy_escrow: bool,
}

/// The chain could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DevChainError {
    /// The data directory could not be made, read, written or locked.
    #[error("{attempted} {path}")]
    Data {
        /// What was being done.
        attempted: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Another process uses the directory.
    #[error("another process uses {path}")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// The directory holds a chain with other parameters.
    #[error(
        "{path} holds a chain with another {parameter}; use another directory or the same parameters"
    )]
    OtherGenesis {
        /// The genesis file.
        path: PathBuf,
        /// Which parameter differs.
        parameter: &'static str,
    },
    /// The stored blocks cannot be executed again.
    #[error("replaying {path}")]
    Replay {
        /// The journal.
        path: PathBuf,
        /// Why.
        #[source]
        cause: JournalError,
    },
    /// The escrow's creation code did not run at the genesis.
    #[error("deploying the escrow at the genesis failed")]
    Escrow,
}

/// An opened development chain.
#[derive(Debug)]
pub struct DevChain {
    node: Node,
}

/// Where [`DevConfig::deploy_escrow`] puts the escrow: the same address on every development chain.
pub fn dev_escrow_address() -> ChainAddress {
    ChainAddress(genesis_deployer().create(0).into_array())
}

/// The account that deploys at the genesis. It is a hash, so nobody has its key.
fn genesis_deployer() -> Address {
    Address::from_word(keccak256("ExEC development chain: deployer of the genesis"))
}

impl DevChain {
    /// Opens the chain in its directory, or begins a new one. Blocks the thread while it replays.
    pub fn open(config: &DevConfig) -> Result<Self, DevChainError> {
        Self::open_at(config, wall_clock())
    }

    /// The same when the clock says `now`, seconds since the epoch.
    pub(crate) fn open_at(config: &DevConfig, now: u64) -> Result<Self, DevChainError> {
        let node = Node::open(config, now)?;
        Ok(Self { node })
    }

    /// Number of the latest block.
    pub fn height(&self) -> u64 {
        self.node.height()
    }
}

/// Serves the chain's JSON-RPC over HTTP until the listener fails or the future is dropped.
pub async fn serve(chain: DevChain, listener: TcpListener) -> io::Result<()> {
    serve_by(chain, listener, Arc::new(wall_clock)).await
}

/// What tells seconds since the epoch.
type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The same by another clock.
pub(crate) async fn serve_by(
    chain: DevChain,
    listener: TcpListener,
    clock: Clock,
) -> io::Result<()> {
    let shared = (Arc::new(Mutex::new(chain.node)), clock);
    let app = axum::Router::new()
        .route("/", axum::routing::post(answer))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shared);
    axum::serve(listener, app).await
}

async fn answer(State((node, clock)): State<(Arc<Mutex<Node>>, Clock)>, body: Bytes) -> Response {
    // Execution and the journal's fsync take milliseconds: off the threads that do the network.
    let answered = tokio::task::spawn_blocking(move || {
        let mut node = node.lock().unwrap_or_else(PoisonError::into_inner);
        rpc::answer(&mut node, &body, clock())
    })
    .await;
    match answered {
        Ok(Some(json)) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Seconds since the epoch. Blocks never go back behind their predecessor, whatever this says.
fn wall_clock() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
