//! The escrow of one account on any chain that speaks Ethereum's JSON-RPC.
//!
//! Round trips are what an operation costs, so there are few: chain, code, fees and nonce are asked for once
//! ([`Ledger::verify_contract`] does all of it ahead), and every transaction goes together with the question for its
//! receipt. Gas limits are known upper bounds instead of estimates. Why the contract refused is found out by repeating
//! the call.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use alloy::eips::BlockNumberOrTag;
use alloy::primitives::{Address, Bytes, TxKind, U64, U256, keccak256};
use alloy::rpc::client::RpcClient;
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::sol_types::SolCall;
use edge_ports::{Ledger, LedgerError};
use edge_types::{ChainAddress, ChainId, Hash32};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::abi::{self, ExecEscrow};
use crate::artifact::Escrow;
use crate::keys::LocalKey;

mod http;
mod nonces;
mod operations;
mod rpc;
mod send;

use http::BoundedHttp;
use nonces::Nonces;
use rpc::read_error;

/// Upper bounds of the gas that each operation takes; a test holds them against the contract.
pub(crate) mod gas {
    pub(crate) const PROPOSE: u64 = 250_000;
    pub(crate) const ANSWER: u64 = 150_000;
    pub(crate) const SETTLE: u64 = 250_000;
    pub(crate) const WITHDRAW: u64 = 120_000;
    /// What a token may take for a transfer or an allowance.
    pub(crate) const TOKEN: u64 = 150_000;
    pub(crate) const DEPLOY: u64 = 5_000_000;
    pub(crate) const TRANSFER: u64 = 21_000;
}

/// Wei.
pub const GWEI: u128 = 1_000_000_000;
/// Time between two blocks of the slowest chain that the client is meant for.
const SLOWEST_BLOCK: Duration = Duration::from_secs(12);
/// Fees are asked for again when they are older than this: twice the base fee lasts for 6 full blocks (EIP-1559).
const FEES_AGE: Duration = Duration::from_mins(1);
/// How often two nodes are asked before they count as disagreeing.
const AGREE_ATTEMPTS: u32 = 3;
/// How often an operation is tried again with fresh nonce and fees.
const ATTEMPTS: u32 = 4;

/// Which escrow on which chain, by which node, and how patiently.
#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// The node's JSON-RPC endpoint: `http://` and an IP address literal, so that no name has to be trusted or resolved.
    pub rpc_url: String,
    /// A second node of another operator. Where one is named, both have to give the same answer about code, agreements and
    /// sums before it counts (rule 10).
    pub second_rpc_url: Option<String>,
    /// The chain that the nodes must serve.
    pub chain: ChainId,
    /// The escrow.
    pub contract: ChainAddress,
    /// Blocks that a transaction must be deep before it counts, itself included; at least 1 (rule 10). What is read is the
    /// state at that depth too.
    pub confirmations: u64,
    /// Time between two looks for a receipt. Public chains make a block in seconds, the development chain at once.
    pub poll_interval: Duration,
    /// Longest time for one answer of the node.
    pub request_timeout: Duration,
    /// Longest time until a transaction counts.
    pub inclusion_timeout: Duration,
    /// A transaction that no block took for so long is offered again with a quarter more of fees.
    pub raise_after: Duration,
    /// The most that a unit of gas may cost, wei: a node that names higher fees is not followed.
    pub max_fee_per_gas: u128,
    /// The most of that for whoever makes the block, wei, before the fees are raised.
    pub max_tip_per_gas: u128,
}

impl LedgerConfig {
    /// Values that suit the development chain: 1 confirmation, polled each 100 ms, 5 s for an answer, 30 s in all,
    /// fees raised each 10 s, at most 100 gwei and 5 of tip.
    pub const fn dev(rpc_url: String, chain: ChainId, contract: ChainAddress) -> Self {
        Self {
            rpc_url,
            second_rpc_url: None,
            chain,
            contract,
            confirmations: 1,
            poll_interval: Duration::from_millis(100),
            request_timeout: Duration::from_secs(5),
            inclusion_timeout: Duration::from_secs(30),
            raise_after: Duration::from_secs(10),
            max_fee_per_gas: 100 * GWEI,
            max_tip_per_gas: 5 * GWEI,
        }
    }

    /// Values that suit any chain with blocks at most 12 s apart, and so many confirmations: there is time for those and
    /// for three blocks more, and fees are raised after a block and a half.
    pub fn public(
        rpc_url: String,
        chain: ChainId,
        contract: ChainAddress,
        confirmations: u64,
    ) -> Self {
        let blocks = u32::try_from(confirmations.saturating_add(3)).unwrap_or(u32::MAX);
        Self {
            confirmations,
            inclusion_timeout: SLOWEST_BLOCK.saturating_mul(blocks),
            raise_after: SLOWEST_BLOCK * 3 / 2,
            ..Self::dev(rpc_url, chain, contract)
        }
    }
}

/// The configuration does not name a usable node.
#[derive(Debug, thiserror::Error)]
pub enum LedgerConfigError {
    /// Not an `http://` URL with an IP address literal.
    #[error("{url:?} is not http:// and an IP address")]
    Url {
        /// As given.
        url: String,
    },
    /// Zero confirmations.
    #[error("a transaction needs at least one confirmation")]
    Confirmations,
}

/// One account's view of one escrow contract. See [`Ledger`].
///
/// Operations may run at once; each has its own nonce.
pub struct EthLedger {
    config: LedgerConfig,
    key: LocalKey,
    client: RpcClient,
    second: Option<RpcClient>,
    nonces: Nonces,
    fees: Mutex<Option<Fees>>,
    verified: OnceCell<()>,
    /// Held while the escrow is allowed to fetch of a token.
    allowance: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, Debug)]
struct Fees {
    max_fee: u128,
    tip: u128,
    asked_at: Instant,
}

impl fmt::Debug for EthLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EthLedger")
            .field("config", &self.config)
            .field("account", &self.account())
            .finish_non_exhaustive()
    }
}

impl EthLedger {
    /// A ledger that signs with `key`. Talks to nobody yet.
    pub fn new(config: LedgerConfig, key: LocalKey) -> Result<Self, LedgerConfigError> {
        if config.confirmations == 0 {
            return Err(LedgerConfigError::Confirmations);
        }
        let node = |url: &str| {
            let node = http::node(url).ok_or_else(|| LedgerConfigError::Url {
                url: url.to_owned(),
            })?;
            Ok(RpcClient::new(
                BoundedHttp::new(node, config.request_timeout),
                false,
            ))
        };
        Ok(Self {
            client: node(&config.rpc_url)?,
            second: config.second_rpc_url.as_deref().map(node).transpose()?,
            config,
            key,
            nonces: Nonces::default(),
            fees: Mutex::new(None),
            verified: OnceCell::new(),
            allowance: tokio::sync::Mutex::new(()),
        })
    }

    /// Puts a new escrow on the chain; its address. For development and tests; it does not need
    /// [`LedgerConfig::contract`].
    pub async fn deploy_escrow(&self) -> Result<ChainAddress, LedgerError> {
        let code = Escrow::artifact().creation_bytecode.to_vec();
        self.deploy("deploying the escrow", code).await
    }

    /// Puts any contract on the chain; its address. For development and tests.
    pub async fn deploy(
        &self,
        attempted: &'static str,
        code: Vec<u8>,
    ) -> Result<ChainAddress, LedgerError> {
        let (to, code) = (TxKind::Create, code.into());
        let receipt = self
            .transact(attempted, to, code, U256::ZERO, gas::DEPLOY)
            .await?;
        let address = receipt.contract_address.ok_or(LedgerError::Malformed {
            attempted,
            detail: "a receipt without the contract's address".to_owned(),
        })?;
        Ok(ChainAddress(address.into_array()))
    }

    /// Calls any contract with encoded arguments, without money. For development and tests.
    pub async fn tell(
        &self,
        attempted: &'static str,
        contract: ChainAddress,
        input: Vec<u8>,
    ) -> Result<(), LedgerError> {
        let to = TxKind::Call(Address::new(contract.0));
        self.transact(attempted, to, input.into(), U256::ZERO, gas::TOKEN)
            .await?;
        Ok(())
    }

    fn contract_address(&self) -> Address {
        Address::new(self.config.contract.0)
    }

    async fn verify(&self, attempted: &'static str) -> Result<(), LedgerError> {
        self.verified
            .get_or_try_init(|| async {
                self.verify_at(attempted, &self.client).await?;
                match &self.second {
                    Some(second) => self.verify_at(attempted, second).await,
                    None => Ok(()),
                }
            })
            .await
            .copied()
    }

    /// Does this node serve the chain, and the escrow's code on it?
    async fn verify_at(
        &self,
        attempted: &'static str,
        node: &RpcClient,
    ) -> Result<(), LedgerError> {
        let mut batch = node.new_batch();
        let chain = batch
            .add_call::<_, U64>("eth_chainId", &())
            .map_err(read_error(attempted))?;
        let code = batch
            .add_call::<_, Bytes>("eth_getCode", &(self.contract_address(), "latest"))
            .map_err(read_error(attempted))?;
        batch.send().await.map_err(read_error(attempted))?;
        let found = ChainId(chain.await.map_err(read_error(attempted))?.to());
        if found != self.config.chain {
            return Err(LedgerError::WrongChain {
                found,
                expected: self.config.chain,
            });
        }
        let code = keccak256(code.await.map_err(read_error(attempted))?);
        let expected = Escrow::artifact().runtime_hash();
        if code != expected {
            return Err(LedgerError::UnknownContract {
                contract: self.config.contract,
                found: Hash32(code.0),
                expected: Hash32(expected.0),
            });
        }
        Ok(())
    }

    /// Calls a view function of the escrow at the depth that counts.
    async fn view<C: SolCall>(
        &self,
        attempted: &'static str,
        call: &C,
    ) -> Result<C::Return, LedgerError> {
        self.verify(attempted).await?;
        self.call(attempted, self.contract_address(), call).await
    }

    /// Calls a view function of any contract at the depth that counts.
    async fn call<C: SolCall>(
        &self,
        attempted: &'static str,
        to: Address,
        call: &C,
    ) -> Result<C::Return, LedgerError> {
        let request = TransactionRequest::default()
            .to(to)
            .input(call.abi_encode().into());
        let block = self.counting_block(attempted).await?;
        let ask = |node: &RpcClient| {
            let answer = node.request::<_, Bytes>("eth_call", (request.clone(), block));
            async move { answer.await.map_err(read_error(attempted)) }
        };
        let output = match &self.second {
            None => ask(&self.client).await?,
            Some(second) => self.agreed(attempted, second, ask).await?,
        };
        C::abi_decode_returns(&output).map_err(|cause| LedgerError::Malformed {
            attempted,
            detail: cause.to_string(),
        })
    }

    /// The latest block that is deep enough: a reorganisation undoes no state that was read there. Of two nodes the one
    /// that lags has it too.
    async fn counting_block(
        &self,
        attempted: &'static str,
    ) -> Result<BlockNumberOrTag, LedgerError> {
        let above = self.config.confirmations - 1;
        if above == 0 {
            return Ok(BlockNumberOrTag::Latest);
        }
        let height = |node: &RpcClient| {
            let answer = node.request_noparams::<U64>("eth_blockNumber");
            async move { answer.await.map_err(read_error(attempted)) }
        };
        let head: u64 = match &self.second {
            None => height(&self.client).await?.to(),
            Some(second) => {
                let (one, other) = tokio::join!(height(&self.client), height(second));
                one?.min(other?).to()
            }
        };
        Ok(BlockNumberOrTag::Number(head.saturating_sub(above)))
    }

    /// What both nodes say. A node may be a block behind, so each is asked a few times.
    async fn agreed<F: Future<Output = Result<Bytes, LedgerError>>>(
        &self,
        attempted: &'static str,
        second: &RpcClient,
        ask: impl Fn(&RpcClient) -> F,
    ) -> Result<Bytes, LedgerError> {
        for attempt in 1..=AGREE_ATTEMPTS {
            let (one, other) = tokio::join!(ask(&self.client), ask(second));
            let one = one?;
            if one == other? {
                return Ok(one);
            }
            if attempt < AGREE_ATTEMPTS {
                tokio::time::sleep(self.config.poll_interval).await;
            }
        }
        Err(LedgerError::Disagreement { attempted })
    }

    /// Sends a call to the escrow after checking that it is one.
    async fn mutate<C: SolCall>(
        &self,
        attempted: &'static str,
        call: &C,
        value: u128,
        gas: u64,
    ) -> Result<TransactionReceipt, LedgerError> {
        self.verify(attempted).await?;
        let to = TxKind::Call(self.contract_address());
        let input = call.abi_encode().into();
        self.transact(attempted, to, input, U256::from(value), gas)
            .await
    }
}

/// The name of the contract's error in revert data.
fn escrow_error(data: &[u8]) -> Option<&'static str> {
    let selector = data.first_chunk::<4>()?;
    ExecEscrow::ExecEscrowErrors::name_by_selector(*selector)
}

fn in_range<T>(
    attempted: &'static str,
    value: Result<T, abi::OutOfRange>,
) -> Result<T, LedgerError> {
    value.map_err(|field| LedgerError::Malformed {
        attempted,
        detail: format!("{field} is out of range"),
    })
}
