//! The node: blocks, transactions waiting for their turn, and what was mined.

use std::collections::BTreeMap;

use alloy::consensus::transaction::{Recovered, SignerRecoverable};
use alloy::consensus::{
    EMPTY_OMMER_ROOT_HASH, Eip658Value, Header, Receipt, ReceiptEnvelope, Transaction, TxEnvelope,
    proofs,
};
use alloy::eips::Decodable2718;
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::rpc::types::{Log, TransactionReceipt};
use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction};

use super::evm::{BASE_FEE, BlockContext, Call, GAS_LIMIT, NotExecuted, State};
use super::journal::{Genesis, Journal, JournalError, StoredBlock};
use super::{DevChainError, DevConfig, dev_escrow_address, genesis_deployer};
use crate::artifact::Escrow;

/// Most transactions that wait for an earlier nonce, of all accounts.
const POOL_SIZE: usize = 1024;
/// How far ahead of its account a transaction's nonce may be.
const NONCE_AHEAD: u64 = 64;
/// Octets of one transaction; as in geth.
const MAX_TRANSACTION: usize = 128 * 1024;

/// Why a transaction is not accepted. The texts are those of other nodes, since clients look for them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejected {
    #[error("oversized data: transaction size {0}, limit {MAX_TRANSACTION}")]
    Oversized(usize),
    #[error("transaction could not be decoded: {0}")]
    Undecodable(String),
    #[error("transaction type not supported")]
    UnsupportedType,
    #[error("invalid chain id for signer: have {} want {want}", have.map_or("none".to_owned(), |id| id.to_string()))]
    WrongChain { have: Option<u64>, want: u64 },
    #[error("invalid sender")]
    InvalidSender,
    #[error("already known")]
    AlreadyKnown,
    #[error("nonce too low: next nonce {next}, tx nonce {nonce}")]
    NonceTooLow { next: u64, nonce: u64 },
    #[error("nonce too high: next nonce {next}, tx nonce {nonce}")]
    NonceTooHigh { next: u64, nonce: u64 },
    #[error("replacement transaction underpriced")]
    Replacement,
    #[error("txpool is full")]
    PoolFull,
    #[error("max fee per gas less than block base fee: maxFeePerGas: {have}, baseFee: {BASE_FEE}")]
    FeeTooLow { have: u128 },
    #[error("insufficient funds for gas * price + value")]
    InsufficientFunds,
    #[error("{0}")]
    Invalid(String),
    #[error("blocks cannot be stored; the chain has to be started again")]
    Storage,
}

/// A block and its transaction, if it has one.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) header: Header,
    pub(super) hash: B256,
    pub(super) transaction: Option<B256>,
}

/// A transaction in a block, and what came of it.
#[derive(Debug)]
pub(super) struct Mined {
    pub(super) transaction: Recovered<TxEnvelope>,
    pub(super) receipt: TransactionReceipt,
}

/// The chain and what is kept of it.
#[derive(Debug)]
pub(super) struct Node {
    chain_id: u64,
    state: State,
    blocks: Vec<Block>,
    numbers: BTreeMap<B256, u64>,
    mined: BTreeMap<B256, Mined>,
    pool: BTreeMap<(Address, u64), Recovered<TxEnvelope>>,
    journal: Journal,
    /// Seconds by which the chain's time was put ahead of the clock's.
    ahead: u64,
    /// A transaction was executed that could not be stored; nothing more is accepted.
    broken: bool,
}

impl Node {
    pub(super) fn open(config: &DevConfig, now: u64) -> Result<Self, DevChainError> {
        let genesis = Genesis {
            format: 1,
            chain_id: config.chain.0,
            fund: config
                .fund
                .iter()
                .map(|(account, wei)| (account.to_string(), wei.to_string()))
                .collect(),
            escrow_code_hash: config
                .deploy_escrow
                .then(|| Escrow::artifact().runtime_hash()),
            timestamp: now,
        };
        let (mut journal, genesis) = Journal::open(&config.data, genesis)?;

        let mut state = State::new(config.chain.0);
        for (account, wei) in &config.fund {
            state.fund(Address::new(account.0), U256::from(*wei));
        }
        if config.deploy_escrow {
            let code = Escrow::artifact().creation_bytecode.clone();
            let address = state.deploy(genesis_deployer(), code);
            if address != Some(Address::new(dev_escrow_address().0)) {
                return Err(DevChainError::Escrow);
            }
        }
        let first = Block::new(Header {
            timestamp: genesis.timestamp,
            extra_data: Bytes::from_static(b"ExEC development chain"),
            ..empty_header()
        });
        let stored = journal.load();
        let mut node = Self {
            chain_id: config.chain.0,
            state,
            blocks: Vec::new(),
            numbers: BTreeMap::new(),
            mined: BTreeMap::new(),
            pool: BTreeMap::new(),
            journal,
            ahead: 0,
            broken: false,
        };
        node.push(first);
        stored
            .and_then(|blocks| blocks.iter().try_for_each(|block| node.replay(block)))
            .map_err(|cause| DevChainError::Replay {
                path: node.journal.path().to_owned(),
                cause,
            })?;
        // Time that was put ahead stays there.
        node.ahead = node.latest().header.timestamp.saturating_sub(now);
        Ok(node)
    }

    /// The chain's time when the clock says `now`.
    pub(super) const fn time(&self, now: u64) -> u64 {
        now.saturating_add(self.ahead)
    }

    /// Puts the chain's time ahead; by how much in all.
    pub(super) const fn put_ahead(&mut self, seconds: u64) -> u64 {
        self.ahead = self.ahead.saturating_add(seconds);
        self.ahead
    }

    pub(super) const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn latest(&self) -> &Block {
        self.blocks.last().expect("there is always a genesis")
    }

    pub(super) fn height(&self) -> u64 {
        self.latest().header.number
    }

    pub(super) fn block(&self, number: u64) -> Option<&Block> {
        self.blocks.get(usize::try_from(number).ok()?)
    }

    pub(super) fn block_by_hash(&self, hash: B256) -> Option<&Block> {
        self.block(*self.numbers.get(&hash)?)
    }

    pub(super) fn mined(&self, transaction: B256) -> Option<&Mined> {
        self.mined.get(&transaction)
    }

    pub(super) fn waiting(&self, transaction: B256) -> Option<&Recovered<TxEnvelope>> {
        self.pool.values().find(|tx| *tx.tx_hash() == transaction)
    }

    /// The nonce that the account's next transaction needs, after those that wait.
    pub(super) fn pending_nonce(&self, account: Address) -> u64 {
        let mut next = self.state.account(account).nonce;
        while self.pool.contains_key(&(account, next)) {
            next += 1;
        }
        next
    }

    /// Makes a block that only tells the time, if a second has passed since the last one.
    pub(super) fn tick(&mut self, now: u64) {
        if now <= self.latest().header.timestamp {
            return;
        }
        let block = Block::new(self.next_header(now));
        match self.journal.append(&block.stored(None)) {
            Ok(()) => self.push(block),
            Err(cause) => {
                tracing::error!(%cause, "block not stored; the chain's time stands still");
            }
        }
    }

    /// Takes in a signed transaction. It is in a block when this returns, unless it waits for an earlier nonce.
    pub(super) fn submit(&mut self, raw: &[u8], now: u64) -> Result<B256, Rejected> {
        let transaction = self.admit(raw)?;
        let (hash, sender, nonce) = (
            *transaction.tx_hash(),
            transaction.signer(),
            transaction.nonce(),
        );
        let next = self.state.account(sender).nonce;
        if nonce > next {
            if nonce - next > NONCE_AHEAD {
                return Err(Rejected::NonceTooHigh { next, nonce });
            }
            if self.pool.len() >= POOL_SIZE {
                return Err(Rejected::PoolFull);
            }
            self.pool.insert((sender, nonce), transaction);
            return Ok(hash);
        }
        self.mine(transaction, now)?;
        self.mine_waiting(sender, now);
        Ok(hash)
    }

    /// Executes a call at the latest block's state, at the time that a block would have now.
    pub(super) fn call(&self, call: &Call, now: u64) -> Result<ExecutionResult, NotExecuted> {
        self.state.call(call, context_of(&self.next_header(now)))
    }

    /// Everything that can be said about a transaction before it is executed.
    fn admit(&self, raw: &[u8]) -> Result<Recovered<TxEnvelope>, Rejected> {
        if raw.len() > MAX_TRANSACTION {
            return Err(Rejected::Oversized(raw.len()));
        }
        let transaction = TxEnvelope::decode_2718_exact(raw)
            .map_err(|cause| Rejected::Undecodable(cause.to_string()))?;
        if !matches!(
            transaction,
            TxEnvelope::Legacy(_) | TxEnvelope::Eip2930(_) | TxEnvelope::Eip1559(_)
        ) {
            return Err(Rejected::UnsupportedType);
        }
        let have = transaction.chain_id();
        if have != Some(self.chain_id) {
            return Err(Rejected::WrongChain {
                have,
                want: self.chain_id,
            });
        }
        let sender = transaction
            .recover_signer()
            .map_err(|_| Rejected::InvalidSender)?;
        let hash = *transaction.tx_hash();
        let nonce = transaction.nonce();
        let waiting = self.pool.get(&(sender, nonce));
        if self.mined.contains_key(&hash) || waiting.is_some_and(|tx| *tx.tx_hash() == hash) {
            return Err(Rejected::AlreadyKnown);
        }
        if waiting.is_some() {
            return Err(Rejected::Replacement);
        }
        let account = self.state.account(sender);
        if nonce < account.nonce {
            return Err(Rejected::NonceTooLow {
                next: account.nonce,
                nonce,
            });
        }
        let have = transaction.max_fee_per_gas();
        if have < u128::from(BASE_FEE) {
            return Err(Rejected::FeeTooLow { have });
        }
        let gas = U256::from(transaction.gas_limit()).saturating_mul(U256::from(have));
        if gas.saturating_add(transaction.value()) > account.balance {
            return Err(Rejected::InsufficientFunds);
        }
        Ok(Recovered::new_unchecked(transaction, sender))
    }

    fn mine_waiting(&mut self, sender: Address, now: u64) {
        loop {
            let next = self.state.account(sender).nonce;
            let Some(transaction) = self.pool.remove(&(sender, next)) else {
                return;
            };
            if let Err(reason) = self.mine(transaction, now) {
                tracing::warn!(%sender, nonce = next, %reason, "a waiting transaction was dropped");
                return;
            }
        }
    }

    /// Executes a transaction in a block of its own.
    fn mine(&mut self, transaction: Recovered<TxEnvelope>, now: u64) -> Result<(), Rejected> {
        if self.broken {
            return Err(Rejected::Storage);
        }
        let header = self.next_header(now);
        let raw: Bytes = transaction.encoded_2718().into();
        let (block, mined) = self.execute(header, transaction)?;
        // Executed and not stored would be lost at a restart although the client was told of it.
        if let Err(cause) = self.journal.append(&block.stored(Some(raw))) {
            tracing::error!(%cause, "block not stored; free the disk and start the chain again");
            self.broken = true;
            return Err(Rejected::Storage);
        }
        self.mined.insert(*mined.transaction.tx_hash(), mined);
        self.push(block);
        Ok(())
    }

    fn execute(
        &mut self,
        mut header: Header,
        transaction: Recovered<TxEnvelope>,
    ) -> Result<(Block, Mined), Rejected> {
        let executed = self
            .state
            .execute(&transaction, context_of(&header))
            .map_err(|error| match error {
                EVMError::Transaction(InvalidTransaction::LackOfFundForMaxFee { .. }) => {
                    Rejected::InsufficientFunds
                }
                other => Rejected::Invalid(other.to_string()),
            })?;
        let gas_used = executed.tx_gas_used();
        let receipt = Receipt {
            status: Eip658Value::Eip658(executed.is_success()),
            cumulative_gas_used: gas_used,
            logs: executed.logs().to_vec(),
        };
        let envelope = ReceiptEnvelope::from_typed(transaction.tx_type(), receipt);
        header.gas_used = gas_used;
        header.logs_bloom = *envelope.logs_bloom();
        header.receipts_root = proofs::calculate_receipt_root(std::slice::from_ref(&envelope));
        header.transactions_root = proofs::calculate_transaction_root(&[transaction.inner()]);
        let mut block = Block::new(header);
        block.transaction = Some(*transaction.tx_hash());
        let mined = block.mined(transaction, envelope, &executed);
        Ok((block, mined))
    }

    fn replay(&mut self, stored: &StoredBlock) -> Result<(), JournalError> {
        let differs = JournalError::Differs {
            number: stored.number,
        };
        let mut header = self.next_header(stored.timestamp);
        header.timestamp = stored.timestamp;
        let block = match &stored.transaction {
            None => Block::new(header),
            Some(raw) => {
                let executed = self
                    .admit(raw)
                    .and_then(|transaction| self.execute(header, transaction));
                let Ok((block, mined)) = executed else {
                    return Err(differs);
                };
                self.mined.insert(*mined.transaction.tx_hash(), mined);
                block
            }
        };
        if block.hash != stored.hash || block.header.number != stored.number {
            return Err(differs);
        }
        self.push(block);
        Ok(())
    }

    fn next_header(&self, now: u64) -> Header {
        let parent = self.latest();
        Header {
            parent_hash: parent.hash,
            number: parent.header.number + 1,
            timestamp: now.max(parent.header.timestamp),
            ..empty_header()
        }
    }

    fn push(&mut self, block: Block) {
        self.state.remember_block(block.header.number, block.hash);
        self.numbers.insert(block.hash, block.header.number);
        self.blocks.push(block);
    }
}

impl Block {
    fn new(header: Header) -> Self {
        Self {
            hash: header.hash_slow(),
            header,
            transaction: None,
        }
    }

    const fn stored(&self, transaction: Option<Bytes>) -> StoredBlock {
        StoredBlock {
            number: self.header.number,
            timestamp: self.header.timestamp,
            hash: self.hash,
            transaction,
        }
    }

    fn mined(
        &self,
        transaction: Recovered<TxEnvelope>,
        receipt: ReceiptEnvelope,
        executed: &ExecutionResult,
    ) -> Mined {
        let hash = *transaction.tx_hash();
        let mut log_index = 0;
        let receipt = receipt.map_logs(|inner| {
            let log = Log {
                inner,
                block_hash: Some(self.hash),
                block_number: Some(self.header.number),
                block_timestamp: Some(self.header.timestamp),
                transaction_hash: Some(hash),
                transaction_index: Some(0),
                log_index: Some(log_index),
                removed: false,
            };
            log_index += 1;
            log
        });
        let receipt = TransactionReceipt {
            inner: receipt,
            transaction_hash: hash,
            transaction_index: Some(0),
            block_hash: Some(self.hash),
            block_number: Some(self.header.number),
            gas_used: executed.tx_gas_used(),
            effective_gas_price: transaction.effective_gas_price(Some(BASE_FEE)),
            blob_gas_used: None,
            blob_gas_price: None,
            from: transaction.signer(),
            to: transaction.to(),
            contract_address: executed.created_address(),
        };
        Mined {
            transaction,
            receipt,
        }
    }
}

fn empty_header() -> Header {
    Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        transactions_root: keccak256([0x80]),
        receipts_root: keccak256([0x80]),
        withdrawals_root: Some(keccak256([0x80])),
        gas_limit: GAS_LIMIT,
        base_fee_per_gas: Some(BASE_FEE),
        state_root: B256::ZERO,
        ..Header::default()
    }
}

const fn context_of(header: &Header) -> BlockContext {
    BlockContext {
        number: header.number,
        timestamp: header.timestamp,
    }
}
