//! The real bytecode against the reference model, and the attacks that it must withstand.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::sol_types::SolCall;
use edge_negotiation::escrow::{
    CHALLENGE_WINDOW_SECONDS, Escrow as Model, EscrowError, PROVIDER_WINDOW_SECONDS, Proposal,
    ReceiptClaim,
};
use edge_ports::Signer;
use edge_types::{
    AgreementId, AgreementRecord, AgreementState, Amount, Asset, ChainAddress, ChainId, ChainTime,
    EscrowTotals, HardwareProfile, Hash32, IepId, Offer, OfferId, Receipt, Settlement, Signature,
    SlaTerms, Slot, UtcTime,
};
use edge_wire::signing;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
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

const CHAIN: ChainId = ChainId(1337);
const START: u64 = 1_000_000;
const RICH: u128 = 1 << 100;
const STRANGER: ChainAddress = ChainAddress([0xee; 20]);

/// Parties 0 and 1 are providers, 2 is the buyer in random sequences, 3 nobody in particular.
static KEYS: LazyLock<[LocalKey; 4]> =
    LazyLock::new(|| [1, 2, 3, 4].map(|byte| LocalKey::from_bytes([byte; 32]).unwrap()));

fn key(number: u8) -> &'static LocalKey {
    &KEYS[usize::from(number)]
}

fn party(number: u8) -> ChainAddress {
    key(number).address()
}

fn alloy(address: ChainAddress) -> Address {
    Address::new(address.0)
}

/// The contract on an EVM, called by anybody at any time.
struct Evm {
    db: CacheDB<EmptyDB>,
    contract: Address,
    now: u64,
    last_gas: u64,
}

/// A call failed: the contract's error by name.
type Refused = String;

impl Evm {
    fn new() -> Self {
        let mut evm = Self {
            db: CacheDB::new(EmptyDB::new()),
            contract: Address::ZERO,
            now: START,
            last_gas: 0,
        };
        let code = Escrow::artifact().creation_bytecode.clone();
        let deployed = evm.transact(STRANGER, TxKind::Create, 0, code);
        evm.contract = deployed.created_address().unwrap();
        let runtime = evm.db.basic_ref(evm.contract).unwrap().unwrap().code_hash;
        assert_eq!(runtime, Escrow::artifact().runtime_hash());
        evm
    }

    fn transact(
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

    fn call<C: SolCall>(
        &mut self,
        caller: ChainAddress,
        value: u128,
        call: &C,
    ) -> Result<C::Return, Refused> {
        let to = TxKind::Call(self.contract);
        match self.transact(caller, to, value, call.abi_encode().into()) {
            ExecutionResult::Success { output, .. } => {
                Ok(C::abi_decode_returns(output.data()).unwrap())
            }
            ExecutionResult::Revert { output, .. } => {
                let selector = *output.first_chunk().unwrap();
                let name = ExecEscrow::ExecEscrowErrors::name_by_selector(selector);
                Err(name.unwrap().to_owned())
            }
            ExecutionResult::Halt { reason, .. } => panic!("halted: {reason:?}"),
        }
    }

    fn propose(
        &mut self,
        buyer: ChainAddress,
        offer: &Offer,
        confirm_by: u64,
        paid: u128,
    ) -> Result<AgreementId, Refused> {
        let call = ExecEscrow::proposeCall {
            offer: abi::signed_terms(offer),
            signature: offer.signature.0.into(),
            confirmBy: confirm_by,
        };
        self.call(buyer, paid, &call).map(|id| AgreementId(id.0))
    }

    fn confirm(&mut self, caller: ChainAddress, id: AgreementId) -> Result<(), Refused> {
        let id = B256::new(id.0);
        self.call(caller, 0, &ExecEscrow::confirmCall { id })
            .map(drop)
    }

    fn reject(&mut self, caller: ChainAddress, id: AgreementId) -> Result<(), Refused> {
        let id = B256::new(id.0);
        self.call(caller, 0, &ExecEscrow::rejectCall { id })
            .map(drop)
    }

    fn expire(&mut self, caller: ChainAddress, id: AgreementId) -> Result<(), Refused> {
        let id = B256::new(id.0);
        self.call(caller, 0, &ExecEscrow::expireCall { id })
            .map(drop)
    }

    fn settle(
        &mut self,
        caller: ChainAddress,
        id: AgreementId,
        receipt: Option<Receipt>,
    ) -> Result<(), Refused> {
        let call = ExecEscrow::settleCall {
            id: B256::new(id.0),
            due: U256::from(receipt.map_or(0, |receipt| receipt.due.units)),
            buyerSignature: receipt
                .map(|receipt| receipt.signature.0.into())
                .unwrap_or_default(),
        };
        self.call(caller, 0, &call).map(drop)
    }

    fn withdraw(&mut self, caller: ChainAddress) -> Result<u128, Refused> {
        let to = alloy(caller);
        self.call(caller, 0, &ExecEscrow::withdrawCall { to })
            .map(|amount| amount.to())
    }

    fn credit(&mut self, account: ChainAddress) -> u128 {
        let account = alloy(account);
        let call = ExecEscrow::creditsCall { account };
        self.call(STRANGER, 0, &call).unwrap().to()
    }

    fn agreement(&mut self, id: AgreementId) -> Option<AgreementRecord> {
        let call = ExecEscrow::agreementCall {
            id: B256::new(id.0),
        };
        abi::agreement_record(id, &self.call(STRANGER, 0, &call).unwrap()).unwrap()
    }

    fn totals(&mut self) -> EscrowTotals {
        let totals = self.call(STRANGER, 0, &ExecEscrow::totalsCall {}).unwrap();
        abi::escrow_totals(&totals).unwrap()
    }

    fn balance(&self, account: ChainAddress) -> u128 {
        let info = self.db.basic_ref(alloy(account)).unwrap();
        info.unwrap_or_default().balance.to()
    }

    fn here(&self) -> ChainAddress {
        ChainAddress(self.contract.into_array())
    }

    fn settlement(&self) -> Settlement {
        Settlement::Escrow {
            chain: CHAIN,
            contract: self.here(),
        }
    }

    fn put_code(&mut self, account: ChainAddress, code: Vec<u8>) {
        let info = self.db.basic_ref(alloy(account)).unwrap().unwrap();
        let code = Bytecode::new_raw(code.into());
        let info = AccountInfo {
            code_hash: code.hash_slow(),
            code: Some(code),
            ..info
        };
        self.db.insert_account_info(alloy(account), info);
    }

    /// The buyer's receipt, signed by `signer`.
    fn receipt(&self, id: AgreementId, due: u128, signer: &LocalKey) -> Receipt {
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

/// 100 seconds at 1000 wei from 200 seconds after the start, a receipt every 10 seconds, signed by party 0.
fn plain_offer(evm: &Evm) -> Offer {
    let offer = Offer {
        id: OfferId([0; 32]),
        provider: party(0),
        site: IepId {
            host: "site1.isp.example".parse().unwrap(),
            port: 80,
        },
        slot: Slot {
            start: UtcTime(START + 200),
            end: UtcTime(START + 300),
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
        },
        settlement: evm.settlement(),
        expires: UtcTime(START + 60),
        nonce: Hash32([1; 32]),
        signature: Signature([0; 65]),
    };
    signing::sign_offer(offer, |digest| key(0).sign_digest(digest))
}

const BUYER: u8 = 1;
const CONFIRM_BY: u64 = START + 100;
const SLOT_END: u64 = START + 300;

/// An EVM with [`plain_offer`] proposed by [`BUYER`].
fn proposed() -> (Evm, AgreementId) {
    let mut evm = Evm::new();
    let offer = plain_offer(&evm);
    let id = evm
        .propose(party(BUYER), &offer, CONFIRM_BY, 100_000)
        .unwrap();
    (evm, id)
}

fn confirmed() -> (Evm, AgreementId) {
    let (mut evm, id) = proposed();
    evm.confirm(party(0), id).unwrap();
    (evm, id)
}

fn refused(error: EscrowError) -> Result<(), Refused> {
    Err(format!("{error:?}"))
}

// The holes of the SmartEdge contract (Wright et al. 2018), by the names that the design notes give them.

#[test]
fn a1_a_provider_that_never_answers_cannot_lock_the_money() {
    let (mut evm, id) = proposed();
    evm.now = CONFIRM_BY;
    assert_eq!(evm.expire(STRANGER, id), refused(EscrowError::TooEarly));
    evm.now += 1;
    assert_eq!(
        evm.confirm(party(0), id),
        refused(EscrowError::TooLate),
        "too late to spring it on the buyer"
    );
    evm.expire(STRANGER, id).unwrap();
    assert_eq!(evm.withdraw(party(BUYER)), Ok(100_000));
}

#[test]
fn a2_a_party_that_refuses_money_hurts_only_itself() {
    let (mut evm, id) = confirmed();
    let receipt = evm.receipt(id, 50_000, key(BUYER));
    let always_revert = vec![0x5f, 0x5f, 0xfd]; // PUSH0 PUSH0 REVERT
    evm.put_code(party(BUYER), always_revert);
    evm.settle(party(0), id, Some(receipt)).unwrap();
    assert_eq!(evm.withdraw(party(0)), Ok(49_500));
    assert_eq!(evm.credit(party(BUYER)), 50_000);
}

#[test]
fn a3_a_buyer_cannot_take_back_what_it_acknowledged() {
    let (mut evm, id) = confirmed();
    let nothing = evm.receipt(id, 0, key(BUYER));
    let acknowledged = evm.receipt(id, 90_000, key(BUYER));
    for now in [START, SLOT_END, SLOT_END + PROVIDER_WINDOW_SECONDS] {
        evm.now = now;
        let alone = evm.settle(party(BUYER), id, Some(nothing));
        assert_eq!(alone, refused(EscrowError::TooEarly), "at {now}");
        assert_eq!(
            evm.reject(party(BUYER), id),
            refused(EscrowError::WrongState)
        );
    }
    evm.settle(party(0), id, Some(acknowledged)).unwrap();
    assert_eq!(evm.credit(party(0)), 89_100);
}

#[test]
fn a4_a_late_provider_is_paid_what_was_acknowledged_and_no_more() {
    let (mut evm, id) = confirmed();
    let acknowledged = evm.receipt(id, 20_000, key(BUYER));
    evm.now = SLOT_END + 365 * 86_400;
    evm.settle(party(0), id, Some(acknowledged)).unwrap();
    assert_eq!(evm.credit(party(0)), 19_800);

    let (mut evm, id) = confirmed();
    evm.now = SLOT_END + 365 * 86_400;
    evm.settle(party(0), id, None).unwrap();
    assert_eq!(evm.credit(party(0)), 9_900, "one receipt interval");
    assert_eq!(evm.credit(party(BUYER)), 90_000);
}

#[test]
fn a5_nothing_stays_in_the_contract_but_what_is_burned() {
    let (mut evm, id) = confirmed();
    let receipt = evm.receipt(id, 50_000, key(BUYER));
    evm.settle(party(0), id, Some(receipt)).unwrap();
    evm.withdraw(party(0)).unwrap();
    evm.withdraw(party(BUYER)).unwrap();
    assert_eq!(evm.balance(evm.here()), 500);
    assert_eq!(evm.totals().burned, Amount::wei(500));
}

#[test]
fn a6_nobody_can_squat_on_a_slot() {
    let mut evm = Evm::new();
    let offer = plain_offer(&evm);
    let forged = signing::sign_offer(offer.clone(), |digest| key(2).sign_digest(digest));
    let squat = |evm: &mut Evm, offer: &Offer, paid| {
        evm.propose(party(2), offer, CONFIRM_BY, paid).map(drop)
    };
    assert_eq!(
        squat(&mut evm, &forged, 100_000),
        refused(EscrowError::BadSignature)
    );
    assert_eq!(
        squat(&mut evm, &offer, 99_999),
        refused(EscrowError::WrongDeposit)
    );
    // Who got hold of a real offer has to pay the whole price, and the provider sends it away.
    squat(&mut evm, &offer, 100_000).unwrap();
    evm.reject(party(0), offer.id.into()).unwrap();
    assert_eq!(evm.credit(party(2)), 100_000);
}

#[test]
fn a_recipient_that_calls_back_gets_its_credit_once() {
    let (mut evm, id) = proposed();
    evm.reject(party(0), id).unwrap();
    // Other people's money, to steal.
    let mut other = plain_offer(&evm);
    other.nonce = Hash32([2; 32]);
    let other = signing::sign_offer(other, |digest| key(0).sign_digest(digest));
    evm.propose(party(2), &other, CONFIRM_BY, 100_000).unwrap();

    // Whoever calls it, and on every receipt of money: escrow.withdraw(address(this)).
    let mut code = vec![0x63];
    code.extend(ExecEscrow::withdrawCall::SELECTOR);
    code.extend([0x60, 0xe0, 0x1b, 0x5f, 0x52]); // PUSH1 224 SHL PUSH0 MSTORE
    code.extend([0x30, 0x60, 0x04, 0x52]); // ADDRESS PUSH1 4 MSTORE
    code.extend([0x5f, 0x5f, 0x60, 0x24, 0x5f, 0x5f, 0x73]); // no output, 36 octets of input, no value
    code.extend(evm.contract.into_array());
    code.extend([0x5a, 0xf1, 0x00]); // GAS CALL STOP
    evm.put_code(party(BUYER), code);
    let before = evm.balance(party(BUYER));
    let to = TxKind::Call(alloy(party(BUYER)));
    assert!(evm.transact(STRANGER, to, 0, Bytes::new()).is_success());
    assert_eq!(evm.balance(party(BUYER)) - before, 100_000);
    assert_eq!(evm.credit(party(BUYER)), 0);
    assert_eq!(evm.balance(evm.here()), 100_000);
}

#[test]
fn an_offer_for_another_chain_or_contract_or_a_signature_s_twin_is_refused() {
    let mut evm = Evm::new();
    let good = plain_offer(&evm);
    let elsewhere = [(ChainId(1), evm.here()), (CHAIN, ChainAddress([7; 20]))];
    let mut bad: Vec<Offer> = elsewhere
        .into_iter()
        .map(|(chain, contract)| {
            let mut offer = good.clone();
            offer.settlement = Settlement::Escrow { chain, contract };
            signing::sign_offer(offer, |digest| key(0).sign_digest(digest))
        })
        .collect();
    // (r, order - s, other v) recovers to the same key.
    let order: U256 = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
        .parse()
        .unwrap();
    let mut twin = good.clone();
    let s = U256::from_be_slice(&twin.signature.0[32..64]);
    twin.signature.0[32..64].copy_from_slice(&(order - s).to_be_bytes::<32>());
    twin.signature.0[64] = 27 + 28 - twin.signature.0[64];
    bad.push(twin);
    for offer in bad {
        assert_eq!(
            evm.propose(party(BUYER), &offer, CONFIRM_BY, 100_000)
                .map(drop),
            refused(EscrowError::BadSignature)
        );
    }
    evm.propose(party(BUYER), &good, CONFIRM_BY, 100_000)
        .unwrap();
}

#[test]
fn ether_that_is_not_a_deposit_is_refused() {
    let mut evm = Evm::new();
    let to = TxKind::Call(evm.contract);
    assert!(!evm.transact(STRANGER, to, 1, Bytes::new()).is_success());
    let confirm = ExecEscrow::confirmCall { id: B256::ZERO };
    assert!(
        !evm.transact(STRANGER, to, 1, confirm.abi_encode().into())
            .is_success()
    );
}

#[test]
fn the_client_s_gas_limits_suffice_and_the_happy_path_stays_cheap() {
    let mut evm = Evm::new();
    let offer = plain_offer(&evm);
    let id = evm
        .propose(party(BUYER), &offer, CONFIRM_BY, 100_000)
        .unwrap();
    let propose = evm.last_gas;
    evm.confirm(party(0), id).unwrap();
    let confirm = evm.last_gas;
    let receipt = evm.receipt(id, 50_000, key(BUYER));
    evm.settle(party(0), id, Some(receipt)).unwrap();
    let settle = evm.last_gas;
    evm.withdraw(party(0)).unwrap();
    let withdraw = evm.last_gas;

    let (mut evm, id) = proposed();
    evm.reject(party(0), id).unwrap();
    let reject = evm.last_gas;
    let measured = [
        (propose, gas::PROPOSE),
        (confirm, gas::ANSWER),
        (reject, gas::ANSWER),
        (settle, gas::SETTLE),
        (withdraw, gas::WITHDRAW),
    ];
    for (used, limit) in measured {
        assert!(
            used * 5 <= limit * 4,
            "{used} is too near to {limit}: {measured:?}"
        );
    }
    // SmartEdge's happy path takes 339 k, besides 1.1 M for a contract per provider.
    assert!(propose + confirm + settle <= 325_000, "{measured:?}");
}

// Random sequences: the contract and the model must agree on everything, at every step.

#[derive(Clone, Debug)]
struct OfferPlan {
    provider: u8,
    signer: u8,
    start: u64,
    seconds: u64,
    price: u128,
    token: bool,
    interval: u32,
    expires: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Advance(u64),
    /// To the deadline that the offer's agreement has by now, give or take a second.
    ToDeadline {
        offer: usize,
        beside: i64,
    },
    Propose {
        buyer: u8,
        offer: usize,
        confirm_in: i64,
        extra: i8,
    },
    Confirm {
        caller: Who,
        offer: usize,
    },
    Reject {
        caller: Who,
        offer: usize,
    },
    Expire {
        caller: Who,
        offer: usize,
    },
    Settle {
        caller: Who,
        offer: usize,
        receipt: Option<ReceiptPlan>,
    },
    Withdraw {
        caller: u8,
    },
}

/// Who calls: guided, since random callers are almost always the wrong ones.
#[derive(Clone, Copy, Debug)]
enum Who {
    TheProvider,
    Party(u8),
}

#[derive(Clone, Debug)]
struct ReceiptPlan {
    signer: u8,
    /// Due, in hundredths of the deposit.
    percent: u8,
    /// Signed over the agreement of this offer instead.
    other: Option<usize>,
}

const OFFERS: usize = 4;

/// Mostly `usual`, and sometimes `odd`.
fn mostly<T: Clone + std::fmt::Debug + 'static>(
    usual: impl Strategy<Value = T> + 'static,
    odd: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    prop_oneof![12 => usual, 1 => odd].boxed()
}

fn offer_plan() -> impl Strategy<Value = OfferPlan> {
    (0..2u8).prop_flat_map(|provider| {
        (
            mostly(Just(provider), 0..4u8),
            mostly(0..900u64, Just(400 * 86_400)),
            mostly(1..900u64, Just(0)),
            mostly(
                0..1_000_000u128,
                prop_oneof![Just(1 << 80), Just(u128::MAX)],
            ),
            mostly(Just(false), Just(true)),
            mostly(0..60u32, Just(u32::MAX)),
            mostly(300..5_000u64, 0..300u64),
        )
            .prop_map(
                move |(signer, start, seconds, price, token, interval, expires)| OfferPlan {
                    provider,
                    signer,
                    start,
                    seconds,
                    price,
                    token,
                    interval,
                    expires,
                },
            )
    })
}

fn step() -> impl Strategy<Value = Step> {
    let who = || {
        prop_oneof![
            6 => Just(Who::TheProvider),
            2 => Just(Who::Party(2)),
            1 => (0..4u8).prop_map(Who::Party),
        ]
    };
    let receipt = (
        mostly(Just(2u8), 0..4u8),
        mostly(0..=100u8, Just(101u8)),
        mostly(Just(None), (0..OFFERS).prop_map(Some)),
    )
        .prop_map(|(signer, percent, other)| ReceiptPlan {
            signer,
            percent,
            other,
        });
    let advance = prop_oneof![
        6 => 1..30u64,
        1 => 30..700u64,
        1 => prop_oneof![Just(600), Just(601), Just(3_601)],
    ];
    let propose = (
        mostly(Just(2u8), 0..4u8),
        0..OFFERS,
        mostly(0..=600i64, prop_oneof![Just(-1i64), Just(601i64)]),
        mostly(Just(0i8), prop_oneof![Just(-1i8), Just(1i8)]),
    )
        .prop_map(|(buyer, offer, confirm_in, extra)| Step::Propose {
            buyer,
            offer,
            confirm_in,
            extra,
        });
    prop_oneof![
        4 => advance.prop_map(Step::Advance),
        2 => (0..OFFERS, -1..=1i64).prop_map(|(offer, beside)| Step::ToDeadline { offer, beside }),
        6 => propose,
        6 => (who(), 0..OFFERS).prop_map(|(caller, offer)| Step::Confirm { caller, offer }),
        1 => (who(), 0..OFFERS).prop_map(|(caller, offer)| Step::Reject { caller, offer }),
        1 => (who(), 0..OFFERS).prop_map(|(caller, offer)| Step::Expire { caller, offer }),
        5 => (who(), 0..OFFERS, proptest::option::weighted(0.7, receipt))
            .prop_map(|(caller, offer, receipt)| Step::Settle { caller, offer, receipt }),
        1 => (0..4u8).prop_map(|caller| Step::Withdraw { caller }),
    ]
}

/// Both sides, driven together.
struct Pair {
    evm: Evm,
    model: Model,
    offers: Vec<(Offer, ChainAddress)>,
}

impl Pair {
    fn new(plans: &[OfferPlan]) -> Self {
        let evm = Evm::new();
        let offers = plans
            .iter()
            .zip(1..)
            .map(|(plan, nonce)| {
                let plain = plain_offer(&evm);
                let start = START + plan.start;
                let asset = if plan.token {
                    Asset::Token(ChainAddress([6; 20]))
                } else {
                    Asset::Native
                };
                let offer = Offer {
                    provider: party(plan.provider),
                    slot: Slot {
                        start: UtcTime(start),
                        end: UtcTime(start + plan.seconds),
                    },
                    price_per_second: Amount {
                        asset,
                        units: plan.price,
                    },
                    sla: SlaTerms {
                        receipt_interval_seconds: plan.interval,
                        ..plain.sla
                    },
                    expires: UtcTime(START + plan.expires),
                    nonce: Hash32([nonce; 32]),
                    ..plain
                };
                let sign = |digest| key(plan.signer).sign_digest(digest);
                (signing::sign_offer(offer, sign), party(plan.signer))
            })
            .collect();
        Self {
            evm,
            model: Model::default(),
            offers,
        }
    }

    fn id(&self, offer: usize) -> AgreementId {
        self.offers[offer].0.id.into()
    }

    fn who(&self, caller: Who, offer: usize) -> ChainAddress {
        match caller {
            Who::TheProvider => self.offers[offer].0.provider,
            Who::Party(number) => party(number),
        }
    }

    /// What both said to a step; panics if they differ.
    fn step(&mut self, step: &Step) -> Result<(), EscrowError> {
        let now = ChainTime(self.evm.now);
        let (by_model, by_contract) = match *step {
            Step::Advance(seconds) => {
                self.evm.now += seconds;
                return Ok(());
            }
            Step::ToDeadline { offer, beside } => {
                if let Some(deadline) = self.model.closable_after(self.id(offer)) {
                    let then = deadline.0.saturating_add_signed(beside);
                    self.evm.now = self.evm.now.max(then);
                }
                return Ok(());
            }
            Step::Propose {
                buyer,
                offer,
                confirm_in,
                extra,
            } => {
                let confirm_by = self.evm.now.saturating_add_signed(confirm_in);
                let (offer, signer) = self.offers[offer].clone();
                let price = offer.price_per_second.units;
                let paid = price
                    .checked_mul(offer.slot.seconds().into())
                    .filter(|price| *price < RICH)
                    .and_then(|price| price.checked_add_signed(extra.into()))
                    .unwrap_or(0);
                let proposal = Proposal {
                    id: offer.id.into(),
                    buyer: party(buyer),
                    provider: offer.provider,
                    signer: Some(signer),
                    site_hash: signing::site_hash(&offer.site),
                    slot: offer.slot,
                    receipt_interval_seconds: offer.sla.receipt_interval_seconds.into(),
                    price_per_second: offer.price_per_second,
                    expires: offer.expires,
                    confirm_by: ChainTime(confirm_by),
                    paid,
                };
                let by_contract = self.evm.propose(party(buyer), &offer, confirm_by, paid);
                (
                    self.model.propose(now, &proposal),
                    by_contract.map(|id| assert_eq!(id, proposal.id)),
                )
            }
            Step::Confirm { caller, offer } => {
                let (caller, id) = (self.who(caller, offer), self.id(offer));
                let by_model = self.model.confirm(now, caller, id);
                (by_model, self.evm.confirm(caller, id))
            }
            Step::Reject { caller, offer } => {
                let (caller, id) = (self.who(caller, offer), self.id(offer));
                (self.model.reject(caller, id), self.evm.reject(caller, id))
            }
            Step::Expire { caller, offer } => {
                let id = self.id(offer);
                let by_model = self.model.expire(now, id);
                (by_model, self.evm.expire(self.who(caller, offer), id))
            }
            Step::Settle {
                caller,
                offer,
                ref receipt,
            } => self.settle(now, caller, offer, receipt.as_ref()),
            Step::Withdraw { caller } => {
                let caller = party(caller);
                let before = self.evm.balance(caller);
                let amount = self.evm.withdraw(caller).unwrap();
                assert_eq!(amount, self.model.withdraw(caller));
                assert_eq!(self.evm.balance(caller) - before, amount);
                (Ok(()), Ok(()))
            }
        };
        let named = by_model.map_err(|error| format!("{error:?}"));
        assert_eq!(by_contract, named, "{step:?} at {now:?}");
        by_model
    }

    fn settle(
        &mut self,
        now: ChainTime,
        caller: Who,
        offer: usize,
        receipt: Option<&ReceiptPlan>,
    ) -> (Result<(), EscrowError>, Result<(), Refused>) {
        let (caller, id) = (self.who(caller, offer), self.id(offer));
        let deposit = self
            .model
            .agreement(id)
            .map_or(100, |record| record.deposit.units);
        let signed = receipt.map(|plan| {
            let due = match plan.percent {
                101 => deposit + 1,
                percent => deposit / 100 * u128::from(percent),
            };
            let over = plan.other.map_or(id, |other| self.id(other));
            let receipt = self.evm.receipt(over, due, key(plan.signer));
            let claim = ReceiptClaim {
                due,
                signer: (over == id).then(|| party(plan.signer)),
            };
            (receipt, claim)
        });
        let by_model = self
            .model
            .settle(now, caller, id, signed.map(|(_, claim)| claim));
        let by_contract = self
            .evm
            .settle(caller, id, signed.map(|(receipt, _)| receipt));
        (by_model, by_contract)
    }

    fn compare(&mut self) {
        let totals = self.evm.totals();
        assert_eq!(totals, self.model.totals());
        let parts = [totals.released, totals.refunded, totals.burned, totals.held];
        let sum: u128 = parts.iter().map(|part| part.units).sum();
        assert_eq!(totals.deposited.units, sum, "conservation");
        let owed = totals.held.units + totals.burned.units + self.model.credits();
        assert_eq!(
            self.evm.balance(self.evm.here()),
            owed,
            "every wei is accounted for"
        );
        for number in 0..4 {
            let party = party(number);
            assert_eq!(self.evm.credit(party), self.model.credit(party));
        }
    }

    fn compare_agreements(&mut self) {
        for offer in 0..self.offers.len() {
            let id = self.id(offer);
            assert_eq!(self.evm.agreement(id).as_ref(), self.model.agreement(id));
        }
    }

    /// Whatever happened, somebody without any stake can close everything, and all can take what is theirs.
    fn wind_up(&mut self) {
        let open: Vec<AgreementId> = self
            .model
            .agreements()
            .filter(|record| !record.state.is_final())
            .map(|record| record.id)
            .collect();
        for id in open {
            let after = self.model.closable_after(id).unwrap();
            let horizon = START + 2 * 366 * 86_400;
            assert!(after.0 < horizon, "finite time");
            self.evm.now = self.evm.now.max(after.0 + 1);
            let now = ChainTime(self.evm.now);
            if self.model.agreement(id).unwrap().state == AgreementState::Proposed {
                self.model.expire(now, id).unwrap();
                self.evm.expire(STRANGER, id).unwrap();
            } else {
                self.model.settle(now, STRANGER, id, None).unwrap();
                self.evm.settle(STRANGER, id, None).unwrap();
            }
        }
        for caller in 0..4 {
            self.step(&Step::Withdraw { caller }).unwrap();
        }
        self.compare();
        self.compare_agreements();
        let totals = self.evm.totals();
        assert_eq!(totals.held, Amount::wei(0));
        assert_eq!(self.evm.balance(self.evm.here()), totals.burned.units);
    }
}

fn name_of(step: &Step) -> &'static str {
    match step {
        Step::Advance(_) | Step::ToDeadline { .. } => "advance",
        Step::Propose { .. } => "propose",
        Step::Confirm { .. } => "confirm",
        Step::Reject { .. } => "reject",
        Step::Expire { .. } => "expire",
        Step::Settle {
            receipt: Some(_), ..
        } => "settle by receipt",
        Step::Settle { receipt: None, .. } => "settle by silence",
        Step::Withdraw { .. } => "withdraw",
    }
}

#[test]
fn the_contract_does_what_the_model_says() {
    let strategy = (
        proptest::collection::vec(offer_plan(), OFFERS),
        proptest::collection::vec(step(), 20..50),
    );
    let succeeded: RefCell<BTreeMap<&'static str, u32>> = RefCell::default();
    let failed: RefCell<BTreeSet<EscrowError>> = RefCell::default();
    let config = Config {
        cases: 64,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    )
    .run(&strategy, |(plans, steps)| {
        let mut pair = Pair::new(&plans);
        for step in &steps {
            match pair.step(step) {
                Ok(()) => *succeeded.borrow_mut().entry(name_of(step)).or_insert(0) += 1,
                Err(error) => {
                    failed.borrow_mut().insert(error);
                }
            }
            if name_of(step) != "advance" {
                pair.compare();
                pair.compare_agreements();
            }
        }
        pair.wind_up();
        Ok(())
    })
    .unwrap();

    // Sequences in which nothing happens would prove nothing.
    let succeeded = succeeded.into_inner();
    for kind in [
        "propose",
        "confirm",
        "reject",
        "expire",
        "settle by receipt",
        "settle by silence",
        "withdraw",
    ] {
        let count = succeeded.get(kind).copied().unwrap_or(0);
        assert!(count >= 3, "{kind} succeeded {count} times: {succeeded:?}");
    }
    assert_eq!(
        failed.into_inner().len(),
        13,
        "every error of the model was met"
    );
}

#[test]
fn the_windows_are_those_of_the_model() {
    let mut evm = Evm::new();
    let read = |evm: &mut Evm| {
        (
            evm.call(STRANGER, 0, &ExecEscrow::PROVIDER_WINDOWCall {}),
            evm.call(STRANGER, 0, &ExecEscrow::CHALLENGE_WINDOWCall {}),
        )
    };
    assert_eq!(
        read(&mut evm),
        (Ok(PROVIDER_WINDOW_SECONDS), Ok(CHALLENGE_WINDOW_SECONDS))
    );
}
