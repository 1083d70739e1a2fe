//! The contract on an EVM, called by anybody at any time.

use std::sync::LazyLock;

use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::sol_types::SolCall;
use edge_negotiation::escrow::EscrowError;
use edge_ports::Signer;
use edge_types::{
    AgreementId, AgreementRecord, Amount, Asset, ChainAddress, ChainId, EscrowAccount,
    EscrowTotals, Guarantee, HardwareProfile, Hash32, IepId, Offer, OfferId, Receipt, Settlement,
    Signature, SlaTerms, Slot, UtcTime,
};
use edge_wire::signing;
use revm::bytecode::Bytecode;
use revm::context::result::ExecutionResult;
use revm::context::{Context, TxEnv};
use revm::database::{CacheDB, EmptyDB};
use revm::state::AccountInfo;
use revm::{DatabaseRef, ExecuteCommitEvm, MainBuilder, MainContext};

use crate::abi::{self, ExecEscrow};
use crate::artifact::Escrow;
use crate::client::gas;
use crate::keys::LocalKey;

pub(super) const CHAIN: ChainId = ChainId(1337);
pub(super) const START: u64 = 1_000_000;
pub(super) const STRANGER: ChainAddress = ChainAddress([0xee; 20]);
pub(super) const SLOT_START: u64 = START + 200;
pub(super) const SLOT_END: u64 = START + 300;
/// Seconds that the provider of [`plain_offer`] takes for an answer on the chain.
pub(super) const ANSWER: u64 = 100;
pub(super) const PRICE: u128 = 100_000;

/// Parties 0 and 1 are providers, 2 and 3 buyers, 4 the arbiter.
static KEYS: LazyLock<[LocalKey; 5]> =
    LazyLock::new(|| [1, 2, 3, 4, 5].map(|byte| LocalKey::from_bytes([byte; 32]).unwrap()));

pub(super) fn key(number: u8) -> &'static LocalKey {
    &KEYS[usize::from(number)]
}

pub(super) fn party(number: u8) -> ChainAddress {
    key(number).address()
}

pub(super) const PROVIDER: u8 = 0;
pub(super) const BUYER: u8 = 2;
pub(super) const ARBITER: u8 = 4;

pub(super) fn alloy(address: ChainAddress) -> Address {
    Address::new(address.0)
}

/// A call failed: the contract's error by name.
pub(super) type Refused = String;

pub(super) fn refused<T>(error: EscrowError) -> Result<T, Refused> {
    Err(format!("{error:?}"))
}

pub(super) struct Evm {
    pub(super) db: CacheDB<EmptyDB>,
    pub(super) contract: Address,
    pub(super) now: u64,
    pub(super) last_gas: u64,
    /// Calls that change anything, since this was last emptied, and what they came to.
    pub(super) calls: Vec<Sent>,
}

/// A call as it was sent.
pub(super) struct Sent {
    pub(super) caller: ChainAddress,
    pub(super) value: u128,
    pub(super) data: Bytes,
    pub(super) outcome: Result<(), Refused>,
}

impl Evm {
    pub(super) fn new() -> Self {
        let mut evm = Self {
            db: CacheDB::new(EmptyDB::new()),
            contract: Address::ZERO,
            now: START,
            last_gas: 0,
            calls: Vec::new(),
        };
        let code = Escrow::artifact().creation_bytecode.clone();
        evm.contract = evm.create(code);
        let runtime = evm.db.basic_ref(evm.contract).unwrap().unwrap().code_hash;
        assert_eq!(runtime, Escrow::artifact().runtime_hash());
        evm
    }

    /// The same with the escrow at this address.
    pub(super) fn at(contract: ChainAddress) -> Self {
        let mut evm = Self::new();
        let code = evm.code();
        evm.put_code(contract, code.to_vec());
        evm.contract = alloy(contract);
        evm
    }

    /// The escrow's code as it is on the chain.
    pub(super) fn code(&self) -> Bytes {
        let info = self.db.basic_ref(self.contract).unwrap().unwrap();
        let code = self.db.code_by_hash_ref(info.code_hash).unwrap();
        code.original_bytes()
    }

    /// Puts a contract on the chain.
    pub(super) fn create(&mut self, code: Bytes) -> Address {
        let deployed = self.transact(STRANGER, TxKind::Create, 0, code);
        deployed.created_address().unwrap()
    }

    pub(super) fn transact(
        &mut self,
        caller: ChainAddress,
        to: TxKind,
        value: u128,
        data: Bytes,
    ) -> ExecutionResult {
        let caller = alloy(caller);
        if value > 0 {
            let missing = self.db.basic_ref(caller).unwrap().unwrap_or_default();
            let info = AccountInfo {
                balance: missing.balance.max(U256::from(value)),
                ..missing
            };
            self.db.insert_account_info(caller, info);
        }
        let tx = TxEnv::builder()
            .caller(caller)
            .kind(to)
            .value(U256::from(value))
            .data(data)
            .chain_id(Some(CHAIN.0))
            .gas_limit(gas::DEPLOY)
            .gas_price(0)
            .build_fill();
        let now = self.now;
        let mut evm = Context::mainnet()
            .with_db(&mut self.db)
            .modify_cfg_chained(|cfg| {
                cfg.chain_id = CHAIN.0;
                cfg.disable_nonce_check = true;
            })
            .modify_block_chained(|block| {
                block.timestamp = U256::from(now);
                block.basefee = 0;
            })
            .build_mainnet();
        let result = evm.transact_commit(tx).unwrap();
        self.last_gas = result.tx_gas_used();
        result
    }

    pub(super) fn call<C: SolCall>(
        &mut self,
        caller: ChainAddress,
        value: u128,
        call: &C,
    ) -> Result<C::Return, Refused> {
        let to = TxKind::Call(self.contract);
        let data: Bytes = call.abi_encode().into();
        let outcome = match self.transact(caller, to, value, data.clone()) {
            ExecutionResult::Success { output, .. } => {
                Ok(C::abi_decode_returns(output.data()).unwrap())
            }
            ExecutionResult::Revert { output, .. } => {
                let name = output
                    .first_chunk()
                    .and_then(|it| ExecEscrow::ExecEscrowErrors::name_by_selector(*it));
                Err(name.unwrap_or("a revert without a name").to_owned())
            }
            ExecutionResult::Halt { reason, .. } => panic!("halted: {reason:?}"),
        };
        let views = [
            ExecEscrow::accountCall::SELECTOR,
            ExecEscrow::agreementCall::SELECTOR,
            ExecEscrow::totalsCall::SELECTOR,
        ];
        if !views.contains(&C::SELECTOR) {
            let outcome = outcome.as_ref().map(drop).map_err(Clone::clone);
            self.calls.push(Sent {
                caller,
                value,
                data,
                outcome,
            });
        }
        outcome
    }

    pub(super) fn propose(
        &mut self,
        buyer: ChainAddress,
        offer: &Offer,
        paid: u128,
    ) -> Result<(), Refused> {
        let call = ExecEscrow::proposeCall {
            offer: abi::signed_terms(offer),
            signature: offer.signature.0.into(),
        };
        let id = self.call(buyer, paid, &call)?;
        assert_eq!(id.0, offer.id.0);
        Ok(())
    }

    pub(super) fn propose_confirmed(
        &mut self,
        buyer: ChainAddress,
        offer: &Offer,
        until: UtcTime,
        confirmation: Signature,
        paid: u128,
    ) -> Result<(), Refused> {
        let call = ExecEscrow::proposeConfirmedCall {
            offer: abi::signed_terms(offer),
            until: until.0,
            confirmation: confirmation.0.into(),
        };
        let id = self.call(buyer, paid, &call)?;
        assert_eq!(id.0, offer.id.0);
        Ok(())
    }

    /// What [`BUYER`] does with the confirmation of the offer's provider.
    pub(super) fn agree(&mut self, offer: &Offer) -> Result<(), Refused> {
        let until = UtcTime(self.now);
        let digest = signing::confirmation_digest(offer, party(BUYER), until);
        let provider = KEYS.iter().find(|key| key.address() == offer.provider);
        let word = provider.unwrap().sign_digest(digest);
        self.propose_confirmed(party(BUYER), offer, until, word, PRICE)
    }

    pub(super) fn confirm(&mut self, caller: ChainAddress, offer: &Offer) -> Result<(), Refused> {
        let offer = abi::signed_terms(offer);
        self.call(caller, 0, &ExecEscrow::confirmCall { offer })
            .map(drop)
    }

    pub(super) fn reject(&mut self, caller: ChainAddress, offer: &Offer) -> Result<(), Refused> {
        let offer = abi::signed_terms(offer);
        self.call(caller, 0, &ExecEscrow::rejectCall { offer })
            .map(drop)
    }

    pub(super) fn close(&mut self, caller: ChainAddress, offer: &Offer) -> Result<(), Refused> {
        let offer = abi::signed_terms(offer);
        self.call(caller, 0, &ExecEscrow::closeCall { offer })
            .map(drop)
    }

    pub(super) fn give_notice(
        &mut self,
        caller: ChainAddress,
        offer: &Offer,
        stop: u64,
    ) -> Result<(), Refused> {
        let offer = abi::signed_terms(offer);
        self.call(caller, 0, &ExecEscrow::giveNoticeCall { offer, stop })
            .map(drop)
    }

    pub(super) fn settle(
        &mut self,
        caller: ChainAddress,
        offer: &Offer,
        receipt: Receipt,
    ) -> Result<(), Refused> {
        let call = ExecEscrow::settleCall {
            offer: abi::signed_terms(offer),
            due: U256::from(receipt.due.units),
            receipt: receipt.signature.0.into(),
        };
        self.call(caller, 0, &call).map(drop)
    }

    /// Both signed that `due` goes to the provider.
    pub(super) fn settle_mutually(
        &mut self,
        offer: &Offer,
        due: u128,
        signers: [&LocalKey; 2],
    ) -> Result<(), Refused> {
        let digest = signing::closing_digest(offer.id.into(), Amount::wei(due), CHAIN, self.here());
        let [buyer, provider] = signers.map(|signer| signer.sign_digest(digest).0.into());
        let call = ExecEscrow::settleMutuallyCall {
            offer: abi::signed_terms(offer),
            due: U256::from(due),
            buyerSignature: buyer,
            providerSignature: provider,
        };
        self.call(STRANGER, 0, &call).map(drop)
    }

    pub(super) fn claim(
        &mut self,
        caller: ChainAddress,
        offer: &Offer,
        amount: u128,
        receipt: Option<Receipt>,
    ) -> Result<(), Refused> {
        let call = ExecEscrow::claimCall {
            offer: abi::signed_terms(offer),
            amount: U256::from(amount),
            floor: U256::from(receipt.map_or(0, |receipt| receipt.due.units)),
            receipt: receipt.map_or_else(Bytes::new, |receipt| receipt.signature.0.into()),
        };
        self.call(caller, 0, &call).map(drop)
    }

    pub(super) fn dispute(&mut self, caller: ChainAddress, offer: &Offer) -> Result<(), Refused> {
        let offer = abi::signed_terms(offer);
        self.call(caller, 0, &ExecEscrow::disputeCall { offer })
            .map(drop)
    }

    pub(super) fn rule(
        &mut self,
        caller: ChainAddress,
        offer: &Offer,
        due: u128,
        slash: u128,
    ) -> Result<(), Refused> {
        let call = ExecEscrow::ruleCall {
            offer: abi::signed_terms(offer),
            due: U256::from(due),
            slash: U256::from(slash),
        };
        self.call(caller, 0, &call).map(drop)
    }

    pub(super) fn stake(
        &mut self,
        caller: ChainAddress,
        amount: Amount,
        paid: u128,
    ) -> Result<(), Refused> {
        let call = ExecEscrow::stakeCall {
            asset: abi::asset(amount.asset),
            amount: U256::from(amount.units),
        };
        self.call(caller, paid, &call).map(drop)
    }

    pub(super) fn unstake(&mut self, caller: ChainAddress, amount: Amount) -> Result<(), Refused> {
        let call = ExecEscrow::unstakeCall {
            asset: abi::asset(amount.asset),
            amount: U256::from(amount.units),
        };
        self.call(caller, 0, &call).map(drop)
    }

    pub(super) fn withdraw(&mut self, caller: ChainAddress, asset: Asset) -> Result<u128, Refused> {
        let to = alloy(caller);
        let asset = abi::asset(asset);
        self.call(caller, 0, &ExecEscrow::withdrawCall { asset, to })
            .map(|amount| amount.to())
    }

    pub(super) fn account(&mut self, account: ChainAddress, asset: Asset) -> EscrowAccount {
        let call = ExecEscrow::accountCall {
            who: alloy(account),
            asset: abi::asset(asset),
        };
        abi::escrow_account(asset, &self.call(STRANGER, 0, &call).unwrap()).unwrap()
    }

    pub(super) fn credit(&mut self, account: ChainAddress) -> u128 {
        self.account(account, Asset::Native).credit.units
    }

    pub(super) fn agreement(&mut self, offer: &Offer) -> Option<AgreementRecord> {
        let call = ExecEscrow::agreementCall {
            id: B256::new(offer.id.0),
        };
        abi::agreement_record(offer, &self.call(STRANGER, 0, &call).unwrap()).unwrap()
    }

    pub(super) fn totals(&mut self, asset: Asset) -> EscrowTotals {
        let call = ExecEscrow::totalsCall {
            asset: abi::asset(asset),
        };
        abi::escrow_totals(asset, &self.call(STRANGER, 0, &call).unwrap()).unwrap()
    }

    pub(super) fn balance(&self, account: ChainAddress) -> u128 {
        let info = self.db.basic_ref(alloy(account)).unwrap();
        info.unwrap_or_default().balance.to()
    }

    pub(super) fn here(&self) -> ChainAddress {
        ChainAddress(self.contract.into_array())
    }

    pub(super) fn put_code(&mut self, account: ChainAddress, code: Vec<u8>) {
        let info = self.db.basic_ref(alloy(account)).unwrap();
        let code = Bytecode::new_raw(code.into());
        let info = AccountInfo {
            code_hash: code.hash_slow(),
            code: Some(code),
            ..info.unwrap_or_default()
        };
        self.db.insert_account_info(alloy(account), info);
    }

    /// The buyer's receipt, signed by `signer`.
    pub(super) fn receipt(&self, id: AgreementId, due: u128, signer: &LocalKey) -> Receipt {
        let mut receipt = Receipt {
            agreement: id,
            due: Amount::wei(due),
            signature: Signature([0; 65]),
        };
        let digest = signing::receipt_digest(&receipt, CHAIN, self.here());
        receipt.signature = signer.sign_digest(digest);
        receipt
    }
}

/// 100 seconds at 1000 wei from 200 seconds after the start, a receipt every 10 seconds, without stake, signed by
/// [`PROVIDER`], with [`ARBITER`] as judge.
pub(super) fn plain_offer(evm: &Evm) -> Offer {
    let offer = Offer {
        id: OfferId([0; 32]),
        provider: party(PROVIDER),
        buyer: None,
        site: IepId {
            host: "site1.isp.example".parse().unwrap(),
            port: 80,
        },
        slot: Slot {
            start: UtcTime(SLOT_START),
            end: UtcTime(SLOT_END),
        },
        hardware: HardwareProfile {
            milli_cpu: 500,
            memory_bytes: 64 << 20,
            pids: 32,
        },
        price_per_second: Amount::wei(1_000),
        sla: SlaTerms {
            text_hash: Hash32([5; 32]),
            availability_ppm: 990_000,
            receipt_interval_seconds: 10,
            notice_seconds: 5,
            round_trip_ms: 0,
        },
        conditions: edge_types::SiteConditions::default(),
        guarantee: Guarantee {
            stake: 0,
            arbiter: Some(party(ARBITER)),
            answer_seconds: u32::try_from(ANSWER).unwrap(),
        },
        settlement: Settlement::Escrow {
            chain: CHAIN,
            contract: evm.here(),
        },
        expires: UtcTime(START + 60),
        nonce: Hash32([1; 32]),
        signature: Signature([0; 65]),
    };
    sign(offer)
}

/// The same terms, signed by [`PROVIDER`].
pub(super) fn sign(offer: Offer) -> Offer {
    signing::sign_offer(offer, |digest| key(PROVIDER).sign_digest(digest))
}

/// An EVM with [`plain_offer`] proposed by [`BUYER`].
pub(super) fn proposed() -> (Evm, Offer) {
    let mut evm = Evm::new();
    let offer = plain_offer(&evm);
    evm.propose(party(BUYER), &offer, PRICE).unwrap();
    (evm, offer)
}

/// An EVM with [`plain_offer`] agreed on in one transaction.
pub(super) fn confirmed() -> (Evm, Offer) {
    let mut evm = Evm::new();
    let offer = plain_offer(&evm);
    evm.agree(&offer).unwrap();
    (evm, offer)
}
