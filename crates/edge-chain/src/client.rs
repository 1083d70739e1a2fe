//! The escrow of one account on any chain that speaks Ethereum's JSON-RPC.
//!
//! Round trips are what an operation costs, so there are few: chain, code, fees and nonce are asked for once
//! ([`Ledger::verify_contract`] does all of it ahead), and every transaction goes together with the question for its
//! receipt. Gas limits are known upper bounds instead of estimates. Why the contract refused is found out by repeating
//! the call.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::Encodable2718;
use alloy::network::TxSignerSync;
use alloy::primitives::{Address, B256, Bytes, TxKind, U64, U256, keccak256};
use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::ErrorPayload;
use alloy::rpc::types::{Block, TransactionReceipt, TransactionRequest};
use alloy::sol_types::{SolCall, SolEvent};
use edge_ports::{BoxFuture, Ledger, LedgerError, Signer};
use edge_types::{
    AgreementId, AgreementRecord, Amount, ChainAddress, ChainId, ChainTime, EscrowTotals, Hash32,
    Offer, Receipt, Settlement,
};
use edge_wire::signing;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::abi::{self, ExecEscrow};
use crate::artifact::Escrow;
use crate::keys::LocalKey;

mod http;
mod nonces;
mod rpc;

use http::BoundedHttp;
use nonces::{Nonces, Reserved};
use rpc::{SendRefusal, read_error};

/// Upper bounds of the gas that each operation takes; a test holds them against the contract.
pub(crate) mod gas {
    pub(crate) const PROPOSE: u64 = 300_000;
    pub(crate) const ANSWER: u64 = 150_000;
    pub(crate) const SETTLE: u64 = 200_000;
    pub(crate) const WITHDRAW: u64 = 120_000;
    pub(crate) const DEPLOY: u64 = 3_000_000;
    pub(crate) const TRANSFER: u64 = 21_000;
}

/// Fees are asked for again when they are older than this: twice the base fee lasts for 6 full blocks (EIP-1559).
const FEES_AGE: Duration = Duration::from_mins(1);
/// How often an operation is tried again with fresh nonce and fees.
const ATTEMPTS: u32 = 4;

/// Which escrow on which chain, by which node, and how patiently.
#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// The node's JSON-RPC endpoint: `http://` and an IP address literal, so that no name has to be trusted or resolved.
    pub rpc_url: String,
    /// The chain that the node must serve.
    pub chain: ChainId,
    /// The escrow.
    pub contract: ChainAddress,
    /// Blocks that a transaction must be deep before it counts, itself included; at least 1 (rule 10).
    pub confirmations: u64,
    /// Time between two looks for a receipt. Public chains make a block in seconds, the development chain at once.
    pub poll_interval: Duration,
    /// Longest time for one answer of the node.
    pub request_timeout: Duration,
    /// Longest time until a transaction counts.
    pub inclusion_timeout: Duration,
}

impl LedgerConfig {
    /// Values that suit the development chain: 1 confirmation, polled each 100 ms, 5 s for an answer, 30 s in all.
    pub const fn dev(rpc_url: String, chain: ChainId, contract: ChainAddress) -> Self {
        Self {
            rpc_url,
            chain,
            contract,
            confirmations: 1,
            poll_interval: Duration::from_millis(100),
            request_timeout: Duration::from_secs(5),
            inclusion_timeout: Duration::from_secs(30),
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
    /// The HTTP client could not be made.
    #[error("making the HTTP client failed")]
    Http(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// One account's view of one escrow contract. See [`Ledger`].
///
/// Operations may run at once; each has its own nonce.
pub struct EthLedger {
    config: LedgerConfig,
    key: LocalKey,
    client: RpcClient,
    nonces: Nonces,
    fees: Mutex<Option<Fees>>,
    verified: OnceCell<()>,
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
        let url = reqwest::Url::parse(&config.rpc_url)
            .ok()
            .filter(|url| {
                let host = url
                    .host_str()
                    .map(|host| host.trim_matches(['[', ']']).parse::<IpAddr>());
                url.scheme() == "http" && matches!(host, Some(Ok(_)))
            })
            .ok_or_else(|| LedgerConfigError::Url {
                url: config.rpc_url.clone(),
            })?;
        if config.confirmations == 0 {
            return Err(LedgerConfigError::Confirmations);
        }
        let http = reqwest::Client::builder()
            .timeout(config.request_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|cause| LedgerConfigError::Http(cause.into()))?;
        Ok(Self {
            client: RpcClient::new(BoundedHttp::new(http, url), false),
            config,
            key,
            nonces: Nonces::default(),
            fees: Mutex::new(None),
            verified: OnceCell::new(),
        })
    }

    /// Puts a new escrow on the chain; its address. For development and tests; it does not need
    /// [`LedgerConfig::contract`].
    pub async fn deploy_escrow(&self) -> Result<ChainAddress, LedgerError> {
        let code = Escrow::artifact().creation_bytecode.clone();
        let receipt = self
            .transact(
                "deploying the escrow",
                TxKind::Create,
                code,
                U256::ZERO,
                gas::DEPLOY,
            )
            .await?;
        let address = receipt.contract_address.ok_or(LedgerError::Malformed {
            attempted: "deploying the escrow",
            detail: "a receipt without the contract's address".to_owned(),
        })?;
        Ok(ChainAddress(address.into_array()))
    }

    /// What an account could withdraw.
    pub async fn credit(&self, account: ChainAddress) -> Result<Amount, LedgerError> {
        let attempted = "reading a credit";
        let call = ExecEscrow::creditsCall {
            account: Address::new(account.0),
        };
        let wei = self.view(attempted, &call).await?;
        in_range(attempted, abi::amount("credits", wei))
    }

    fn contract_address(&self) -> Address {
        Address::new(self.config.contract.0)
    }

    async fn verify(&self, attempted: &'static str) -> Result<(), LedgerError> {
        self.verified
            .get_or_try_init(|| async {
                let mut batch = self.client.new_batch();
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
            })
            .await
            .copied()
    }

    /// Calls a view function of the escrow at the latest block.
    async fn view<C: SolCall>(
        &self,
        attempted: &'static str,
        call: &C,
    ) -> Result<C::Return, LedgerError> {
        self.verify(attempted).await?;
        let request = TransactionRequest::default()
            .to(self.contract_address())
            .input(call.abi_encode().into());
        let output: Bytes = self
            .client
            .request("eth_call", (request, "latest"))
            .await
            .map_err(read_error(attempted))?;
        C::abi_decode_returns(&output).map_err(|cause| LedgerError::Malformed {
            attempted,
            detail: cause.to_string(),
        })
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

    /// Signs and sends a transaction and waits until it counts.
    async fn transact(
        &self,
        attempted: &'static str,
        to: TxKind,
        input: Bytes,
        value: U256,
        gas_limit: u64,
    ) -> Result<TransactionReceipt, LedgerError> {
        let deadline = Instant::now() + self.config.inclusion_timeout;
        for attempt in 1..=ATTEMPTS {
            let fees = self.fees(attempted).await?;
            let nonce = self
                .nonces
                .reserve(|| self.pending_nonce(attempted))
                .await?;
            let transaction = TxEip1559 {
                chain_id: self.config.chain.0,
                nonce: nonce.value(),
                gas_limit,
                max_fee_per_gas: fees.max_fee,
                max_priority_fee_per_gas: fees.tip,
                to,
                value,
                access_list: alloy::eips::eip2930::AccessList::default(),
                input: input.clone(),
            };
            let refusal = match self.submit(attempted, transaction, deadline).await? {
                Submitted::Included(receipt) if receipt.status() => {
                    nonce.used();
                    return Ok(*receipt);
                }
                Submitted::Included(receipt) => {
                    nonce.used();
                    let error = self.revert_reason(to, input, value, &receipt).await;
                    return Err(LedgerError::Refused { attempted, error });
                }
                Submitted::Refused(refusal) => refusal,
            };
            match refusal {
                SendRefusal::Nonce(_) => nonce.taken_by_other(),
                SendRefusal::Fees(_) => {
                    *self.fees.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    self.give_back(attempted, nonce).await;
                }
                SendRefusal::Other(_) => self.give_back(attempted, nonce).await,
            }
            let last = attempt == ATTEMPTS || Instant::now() >= deadline;
            match refusal {
                SendRefusal::Nonce(_) | SendRefusal::Fees(_) if !last => {}
                SendRefusal::Nonce(error)
                | SendRefusal::Fees(error)
                | SendRefusal::Other(error) => {
                    return Err(LedgerError::Refused { attempted, error });
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Returns a nonce that the node refused to see used. If later ones are under way they would wait for it forever,
    /// so it is spent on nothing.
    async fn give_back(&self, attempted: &'static str, nonce: Reserved<'_>) {
        let Err(nonce) = nonce.give_back() else {
            return;
        };
        let Ok(fees) = self.fees(attempted).await else {
            return; // unknown what became of it: the next session of nonces starts from the chain
        };
        let filler = TxEip1559 {
            chain_id: self.config.chain.0,
            nonce: nonce.value(),
            gas_limit: gas::TRANSFER,
            max_fee_per_gas: fees.max_fee,
            max_priority_fee_per_gas: fees.tip,
            to: TxKind::Call(Address::new(self.account().0)),
            ..TxEip1559::default()
        };
        let (_, raw) = self.sign(filler);
        let sent: Result<B256, _> = self.client.request("eth_sendRawTransaction", (raw,)).await;
        if sent.is_ok() {
            nonce.used();
        }
    }

    fn sign(&self, mut transaction: TxEip1559) -> (B256, Bytes) {
        let signature = self
            .key
            .alloy()
            .sign_transaction_sync(&mut transaction)
            .expect("a key in memory signs every transaction");
        let envelope = TxEnvelope::from(transaction.into_signed(signature));
        (*envelope.tx_hash(), envelope.encoded_2718().into())
    }

    /// Sends until the node has it, then looks until it is deep enough. Sending the same bytes again is harmless.
    async fn submit(
        &self,
        attempted: &'static str,
        transaction: TxEip1559,
        deadline: Instant,
    ) -> Result<Submitted, LedgerError> {
        let (hash, raw) = self.sign(transaction);
        let mut accepted = false;
        loop {
            let outcome = self
                .look(attempted, hash, (!accepted).then_some(&raw))
                .await;
            let waiting_for = match outcome {
                Ok(Look {
                    receipt: Some(receipt),
                    head,
                    ..
                }) => {
                    let depth = head.saturating_sub(receipt.block_number.unwrap_or(head)) + 1;
                    if depth >= self.config.confirmations {
                        return Ok(Submitted::Included(Box::new(receipt)));
                    }
                    accepted = true;
                    None
                }
                Ok(Look {
                    refusal: Some(refusal),
                    ..
                }) => return Ok(Submitted::Refused(refusal)),
                // Not there yet, or dropped by a reorganisation: offer it again next time.
                Ok(Look { .. }) => {
                    accepted = false;
                    None
                }
                Err(error @ LedgerError::Unreachable { .. }) => Some(error),
                Err(error) => return Err(error),
            };
            if Instant::now() + self.config.poll_interval > deadline {
                return Err(waiting_for.unwrap_or(LedgerError::Unreachable {
                    attempted,
                    cause: "the transaction was not included in time".into(),
                }));
            }
            sleep(self.config.poll_interval).await;
        }
    }

    /// One round trip: offers the transaction (if given) and asks for its receipt and the height of the chain.
    async fn look(
        &self,
        attempted: &'static str,
        hash: B256,
        raw: Option<&Bytes>,
    ) -> Result<Look, LedgerError> {
        let error = read_error(attempted);
        let mut batch = self.client.new_batch();
        let sent = raw
            .map(|raw| batch.add_call::<_, B256>("eth_sendRawTransaction", &(raw,)))
            .transpose()
            .map_err(&error)?;
        let receipt = batch
            .add_call::<_, Option<TransactionReceipt>>("eth_getTransactionReceipt", &(hash,))
            .map_err(&error)?;
        let head = batch
            .add_call::<_, U64>("eth_blockNumber", &())
            .map_err(&error)?;
        batch.send().await.map_err(&error)?;
        let refusal = match sent {
            Some(sent) => sent
                .await
                .err()
                .map(rpc::send_refusal(attempted))
                .transpose()?,
            None => None,
        };
        Ok(Look {
            refusal: refusal.flatten(),
            receipt: receipt.await.map_err(&error)?,
            head: head.await.map_err(&error)?.to(),
        })
    }

    async fn pending_nonce(&self, attempted: &'static str) -> Result<u64, LedgerError> {
        let account = Address::new(self.account().0);
        let nonce: U64 = self
            .client
            .request("eth_getTransactionCount", (account, "pending"))
            .await
            .map_err(read_error(attempted))?;
        Ok(nonce.to())
    }

    /// Twice the base fee and the node's idea of a tip, at most [`FEES_AGE`] old.
    async fn fees(&self, attempted: &'static str) -> Result<Fees, LedgerError> {
        let known = *self.fees.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fees) = known.filter(|fees| fees.asked_at.elapsed() < FEES_AGE) {
            return Ok(fees);
        }
        let error = read_error(attempted);
        let mut batch = self.client.new_batch();
        let block = batch
            .add_call::<_, Block<B256>>("eth_getBlockByNumber", &("latest", false))
            .map_err(&error)?;
        let tip = batch
            .add_call::<_, U256>("eth_maxPriorityFeePerGas", &())
            .map_err(&error)?;
        batch.send().await.map_err(&error)?;
        let base = block
            .await
            .map_err(&error)?
            .header
            .base_fee_per_gas
            .unwrap_or(0);
        let tip = in_range(
            attempted,
            u128::try_from(tip.await.map_err(&error)?).map_err(|_| "tip"),
        )?;
        let fees = Fees {
            max_fee: u128::from(base).saturating_mul(2).saturating_add(tip),
            tip,
            asked_at: Instant::now(),
        };
        *self.fees.lock().unwrap_or_else(PoisonError::into_inner) = Some(fees);
        Ok(fees)
    }

    /// Why a transaction failed: repeats it as a call, since receipts do not say.
    async fn revert_reason(
        &self,
        to: TxKind,
        input: Bytes,
        value: U256,
        receipt: &TransactionReceipt,
    ) -> String {
        let mut request = TransactionRequest::default()
            .from(Address::new(self.account().0))
            .input(input.into())
            .value(value);
        request.to = Some(to);
        let repeated: Result<Bytes, _> = self.client.request("eth_call", (request, "latest")).await;
        let data = match &repeated {
            Err(error) => error.as_error_resp().and_then(ErrorPayload::as_revert_data),
            Ok(_) => None,
        };
        data.and_then(|data| escrow_error(&data)).map_or_else(
            || format!("reverted in transaction {}", receipt.transaction_hash),
            str::to_owned,
        )
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

enum Submitted {
    Included(Box<TransactionReceipt>),
    Refused(SendRefusal),
}

struct Look {
    refusal: Option<SendRefusal>,
    receipt: Option<TransactionReceipt>,
    head: u64,
}

impl Ledger for EthLedger {
    fn chain(&self) -> ChainId {
        self.config.chain
    }

    fn contract(&self) -> ChainAddress {
        self.config.contract
    }

    fn account(&self) -> ChainAddress {
        self.key.address()
    }

    fn verify_contract(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            let attempted = "verifying the contract";
            self.verify(attempted).await?;
            // What the first transaction needs besides, so that it takes one round trip.
            self.fees(attempted).await?;
            self.nonces.prime(|| self.pending_nonce(attempted)).await
        })
    }

    fn propose<'a>(
        &'a self,
        offer: &'a Offer,
        confirm_by: ChainTime,
    ) -> BoxFuture<'a, Result<AgreementId, LedgerError>> {
        Box::pin(async move {
            let here = Settlement::Escrow {
                chain: self.config.chain,
                contract: self.config.contract,
            };
            let not_payable = |detail| LedgerError::NotPayable { detail };
            if offer.settlement != here {
                return Err(not_payable("another chain or contract"));
            }
            if offer.price_per_second.asset != edge_types::Asset::Native {
                return Err(not_payable("another asset"));
            }
            let price = offer
                .price_per_second
                .times(offer.slot.seconds())
                .map_err(|_| not_payable("the price is out of range"))?;
            if signing::offer_digest(offer) != offer.id {
                return Err(not_payable("its id is not its digest"));
            }
            let call = ExecEscrow::proposeCall {
                offer: abi::signed_terms(offer),
                signature: offer.signature.0.into(),
                confirmBy: confirm_by.0,
            };
            self.mutate("proposing", &call, price.units, gas::PROPOSE)
                .await?;
            Ok(offer.id.into())
        })
    }

    fn confirm(&self, agreement: AgreementId) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            let id = B256::new(agreement.0);
            let call = ExecEscrow::confirmCall { id };
            self.mutate("confirming", &call, 0, gas::ANSWER).await?;
            Ok(())
        })
    }

    fn reject(&self, agreement: AgreementId) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            let id = B256::new(agreement.0);
            let call = ExecEscrow::rejectCall { id };
            self.mutate("rejecting", &call, 0, gas::ANSWER).await?;
            Ok(())
        })
    }

    fn expire(&self, agreement: AgreementId) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            let id = B256::new(agreement.0);
            let call = ExecEscrow::expireCall { id };
            self.mutate("expiring", &call, 0, gas::ANSWER).await?;
            Ok(())
        })
    }

    fn settle(
        &self,
        agreement: AgreementId,
        receipt: Option<Receipt>,
    ) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            let call = ExecEscrow::settleCall {
                id: B256::new(agreement.0),
                due: U256::from(receipt.map_or(0, |receipt| receipt.due.units)),
                buyerSignature: receipt
                    .map(|receipt| receipt.signature.0.into())
                    .unwrap_or_default(),
            };
            self.mutate("settling", &call, 0, gas::SETTLE).await?;
            Ok(())
        })
    }

    fn withdraw(&self) -> BoxFuture<'_, Result<Amount, LedgerError>> {
        Box::pin(async move {
            let attempted = "withdrawing";
            if self.credit(self.account()).await?.units == 0 {
                return Ok(Amount::wei(0));
            }
            let to = Address::new(self.account().0);
            let call = ExecEscrow::withdrawCall { to };
            let receipt = self.mutate(attempted, &call, 0, gas::WITHDRAW).await?;
            let moved = receipt
                .logs()
                .iter()
                .filter(|log| log.address() == self.contract_address())
                .find_map(|log| ExecEscrow::Withdrawn::decode_log_data(log.data()).ok())
                .map_or(U256::ZERO, |event| event.amount);
            in_range(attempted, abi::amount("amount", moved))
        })
    }

    fn agreement(
        &self,
        agreement: AgreementId,
    ) -> BoxFuture<'_, Result<Option<AgreementRecord>, LedgerError>> {
        Box::pin(async move {
            let attempted = "reading an agreement";
            let id = B256::new(agreement.0);
            let view = self
                .view(attempted, &ExecEscrow::agreementCall { id })
                .await?;
            in_range(attempted, abi::agreement_record(agreement, &view))
        })
    }

    fn totals(&self) -> BoxFuture<'_, Result<EscrowTotals, LedgerError>> {
        Box::pin(async move {
            let attempted = "reading the escrow's sums";
            let totals = self.view(attempted, &ExecEscrow::totalsCall {}).await?;
            in_range(attempted, abi::escrow_totals(&totals))
        })
    }

    fn balance(&self, account: ChainAddress) -> BoxFuture<'_, Result<Amount, LedgerError>> {
        Box::pin(async move {
            let attempted = "reading a balance";
            let wei: U256 = self
                .client
                .request("eth_getBalance", (Address::new(account.0), "latest"))
                .await
                .map_err(read_error(attempted))?;
            in_range(attempted, abi::amount("balance", wei))
        })
    }

    fn now(&self) -> BoxFuture<'_, Result<ChainTime, LedgerError>> {
        Box::pin(async move {
            let block: Block<B256> = self
                .client
                .request("eth_getBlockByNumber", ("latest", false))
                .await
                .map_err(read_error("reading the chain's time"))?;
            Ok(ChainTime(block.header.timestamp))
        })
    }
}
