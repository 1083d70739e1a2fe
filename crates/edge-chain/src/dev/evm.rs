//! Executing transactions and calls.

use alloy::consensus::transaction::Recovered;
use alloy::consensus::{Transaction, TxEnvelope};
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction};
use revm::context::{BlockEnv, CfgEnv, Context, TxEnv};
use revm::database::{CacheDB, EmptyDB, WrapDatabaseRef};
use revm::database_interface::DatabaseRef;
use revm::primitives::hardfork::SpecId;
use revm::state::AccountInfo;
use revm::{Database, ExecuteCommitEvm, ExecuteEvm, MainBuilder};

/// Wei per gas that every transaction pays at least; it is burned, as on the main chain.
pub(super) const BASE_FEE: u64 = 1_000_000_000;
/// Largest gas of a block, and so of a transaction and a call.
pub(super) const GAS_LIMIT: u64 = 30_000_000;
/// The rules; a public chain that keeps up has them too.
const SPEC: SpecId = SpecId::PRAGUE;

/// Why a transaction or call was not executed at all.
pub(super) type NotExecuted = EVMError<std::convert::Infallible, InvalidTransaction>;

/// All accounts, and the rules to change them.
#[derive(Debug)]
pub(super) struct State {
    chain_id: u64,
    db: CacheDB<EmptyDB>,
}

/// The block that something is executed in.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockContext {
    pub(super) number: u64,
    pub(super) timestamp: u64,
}

/// A call that changes nothing.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) from: Address,
    pub(super) to: TxKind,
    pub(super) input: Bytes,
    pub(super) value: U256,
    pub(super) gas: u64,
}

impl State {
    pub(super) fn new(chain_id: u64) -> Self {
        Self {
            chain_id,
            db: CacheDB::new(EmptyDB::new()),
        }
    }

    /// Sets an account's balance; only for the genesis.
    pub(super) fn fund(&mut self, account: Address, balance: U256) {
        self.db
            .insert_account_info(account, AccountInfo::from_balance(balance));
    }

    /// Makes a block's hash known to the `BLOCKHASH` instruction.
    pub(super) fn remember_block(&mut self, number: u64, hash: B256) {
        self.db.cache.block_hashes.insert(U256::from(number), hash);
        if let Some(forgotten) = number.checked_sub(256) {
            self.db.cache.block_hashes.remove(&U256::from(forgotten));
        }
    }

    pub(super) fn account(&self, account: Address) -> AccountInfo {
        let Ok(info) = self.db.basic_ref(account);
        info.unwrap_or_default()
    }

    pub(super) fn code(&self, account: Address) -> Bytes {
        let info = self.account(account);
        let code = info.code.unwrap_or_else(|| {
            let Ok(code) = self.db.code_by_hash_ref(info.code_hash);
            code
        });
        code.original_bytes()
    }

    pub(super) fn storage(&self, account: Address, slot: U256) -> U256 {
        let Ok(value) = self.db.storage_ref(account, slot);
        value
    }

    /// Executes a signed transaction and keeps what it changed.
    pub(super) fn execute(
        &mut self,
        transaction: &Recovered<TxEnvelope>,
        block: BlockContext,
    ) -> Result<ExecutionResult, NotExecuted> {
        let tx = TxEnv::builder()
            .caller(transaction.signer())
            .kind(transaction.kind())
            .data(transaction.input().clone())
            .value(transaction.value())
            .nonce(transaction.nonce())
            .chain_id(transaction.chain_id())
            .gas_limit(transaction.gas_limit())
            .gas_price(transaction.max_fee_per_gas())
            .gas_priority_fee(transaction.max_priority_fee_per_gas())
            .access_list(transaction.access_list().cloned().unwrap_or_default())
            .build_fill();
        let mut evm = context(&mut self.db, self.chain_id, block, BASE_FEE).build_mainnet();
        evm.transact_commit(tx)
    }

    /// Runs creation code for nothing, at the genesis; where the contract stands.
    pub(super) fn deploy(&mut self, deployer: Address, code: Bytes) -> Option<Address> {
        let block = BlockContext {
            number: 0,
            timestamp: 0,
        };
        let call = Call {
            from: deployer,
            to: TxKind::Create,
            input: code,
            value: U256::ZERO,
            gas: tx_gas_cap(),
        };
        let tx = call_transaction(&call, self.chain_id);
        let mut evm = context(&mut self.db, self.chain_id, block, 0).build_mainnet();
        evm.transact_commit(tx).ok()?.created_address()
    }

    /// Executes a call on a copy; nothing is kept.
    pub(super) fn call(
        &self,
        call: &Call,
        block: BlockContext,
    ) -> Result<ExecutionResult, NotExecuted> {
        let copy = CacheDB::new(WrapDatabaseRef(&self.db));
        let tx = call_transaction(call, self.chain_id);
        let mut evm = context(copy, self.chain_id, block, 0)
            .modify_cfg_chained(|cfg| cfg.disable_nonce_check = true)
            .build_mainnet();
        evm.transact(tx).map(|outcome| outcome.result)
    }
}

const fn tx_gas_cap() -> u64 {
    16_000_000
}

fn call_transaction(call: &Call, chain_id: u64) -> TxEnv {
    TxEnv::builder()
        .caller(call.from)
        .kind(call.to)
        .data(call.input.clone())
        .value(call.value)
        .chain_id(Some(chain_id))
        .gas_limit(call.gas)
        .gas_price(0)
        .build_fill()
}

fn context<DB: Database>(
    db: DB,
    chain_id: u64,
    block: BlockContext,
    basefee: u64,
) -> Context<BlockEnv, TxEnv, CfgEnv, DB> {
    Context::<BlockEnv, TxEnv, CfgEnv, DB, revm::Journal<DB>, ()>::new(db, SPEC)
        .modify_cfg_chained(|cfg| cfg.chain_id = chain_id)
        .modify_block_chained(|env| {
            env.number = U256::from(block.number);
            env.timestamp = U256::from(block.timestamp);
            env.gas_limit = GAS_LIMIT;
            env.basefee = basefee;
            env.difficulty = U256::ZERO;
            env.prevrandao = Some(B256::ZERO);
        })
}
