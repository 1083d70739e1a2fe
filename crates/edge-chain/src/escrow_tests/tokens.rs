//! Agreements paid in tokens, and tokens that misbehave.

use alloy::primitives::{Address, Bytes, TxKind, U256};
use alloy::sol_types::SolCall;
use edge_negotiation::escrow::EscrowError;
use edge_types::{Amount, Asset, ChainAddress, Hash32, Offer};
use serde::Deserialize;

use super::evm::{BUYER, Evm, PRICE, PROVIDER, STRANGER, key, party, plain_offer, refused, sign};
use crate::abi::{self, ExecEscrow};

const ARTIFACT: &str = include_str!("../../../../contracts/test/Token.json");

alloy::sol! {
    interface TestToken {
        enum Manner { Plain, Silent, Refuses, Fee, Lies, Backdoor }
        function mint(address to, uint256 amount) external;
        function behave(Manner as_, bytes calldata with_) external;
        function allow(address spender) external;
        function approve(address spender, uint256 amount) external returns (bool);
        function balanceOf(address account) external view returns (uint256);
    }
}

use TestToken::Manner;

/// An escrow, a token of which the buyer and the provider have plenty, and an offer in it.
pub(super) struct InToken {
    pub(super) evm: Evm,
    pub(super) token: Address,
    pub(super) offer: Offer,
}

impl InToken {
    pub(super) fn new() -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Artifact {
            creation_bytecode: Bytes,
        }
        let artifact: Artifact = serde_json::from_str(ARTIFACT).unwrap();
        let mut evm = Evm::new();
        let token = evm.create(artifact.creation_bytecode);
        let mut offer = plain_offer(&evm);
        offer.price_per_second.asset = Asset::Token(ChainAddress(token.into_array()));
        let mut world = Self {
            offer: sign(offer),
            evm,
            token,
        };
        for number in [BUYER, PROVIDER] {
            let to = Address::new(party(number).0);
            let amount = U256::from(10 * PRICE);
            world.tell(STRANGER, &TestToken::mintCall { to, amount });
            let spender = world.evm.contract;
            let amount = U256::MAX;
            world.tell(party(number), &TestToken::approveCall { spender, amount });
        }
        world
    }

    pub(super) const fn asset(&self) -> Asset {
        self.offer.price_per_second.asset
    }

    fn tell<C: SolCall>(&mut self, caller: ChainAddress, call: &C) -> Bytes {
        let to = TxKind::Call(self.token);
        let result = self.evm.transact(caller, to, 0, call.abi_encode().into());
        assert!(result.is_success(), "{result:?}");
        result.into_output().unwrap_or_default()
    }

    fn behave(&mut self, manner: Manner, with: Bytes) {
        let call = TestToken::behaveCall {
            as_: manner,
            with_: with,
        };
        self.tell(STRANGER, &call);
    }

    fn balance(&mut self, account: ChainAddress) -> u128 {
        let call = TestToken::balanceOfCall {
            account: Address::new(account.0),
        };
        U256::from_be_slice(&self.tell(STRANGER, &call)).to()
    }

    /// The buyer pays in the token, sending `ether` along.
    fn propose(&mut self, ether: u128) -> Result<(), String> {
        self.evm.propose(party(BUYER), &self.offer, ether)
    }
}

#[test]
fn an_agreement_in_a_token_ends_with_every_unit_where_it_belongs() {
    for manner in [Manner::Plain, Manner::Silent] {
        let mut world = InToken::new();
        world.behave(manner, Bytes::new());
        let asset = world.asset();
        let stake = Amount {
            asset,
            units: 5_000,
        };
        world.evm.stake(party(PROVIDER), stake, 0).unwrap();
        world.propose(0).unwrap();
        world.evm.confirm(party(PROVIDER), &world.offer).unwrap();
        let id = world.offer.id.into();
        let receipt = world.evm.receipt(id, 50_000, key(BUYER));
        world
            .evm
            .settle(party(PROVIDER), &world.offer, receipt)
            .unwrap();
        let native = world.evm.withdraw(party(PROVIDER), Asset::Native);
        assert_eq!(native, Ok(0), "credits are per asset");
        assert_eq!(world.evm.withdraw(party(PROVIDER), asset), Ok(49_500));
        assert_eq!(world.evm.withdraw(party(BUYER), asset), Ok(50_000));
        let provider = world.evm.account(party(PROVIDER), asset);
        assert_eq!(provider.reputation.units, 500);
        let provider = world.balance(party(PROVIDER));
        assert_eq!(provider, 10 * PRICE - 5_000 + 49_500);
        let here = world.evm.here();
        assert_eq!(world.balance(here), 5_500, "stake and what is burned");
    }
}

#[test]
fn a_token_that_takes_a_fee_lies_or_refuses_is_not_taken() {
    for (manner, error) in [
        (Manner::Fee, "WrongDeposit"),
        (Manner::Lies, "WrongDeposit"),
        (Manner::Refuses, "TransferFailed"),
    ] {
        let mut world = InToken::new();
        world.behave(manner, Bytes::new());
        assert_eq!(world.propose(0).unwrap_err(), error);
        let stake = Amount {
            asset: world.asset(),
            units: 500,
        };
        let staked = world.evm.stake(party(PROVIDER), stake, 0);
        assert_eq!(staked.unwrap_err(), error);
        let none = world.evm.agreement(&world.offer);
        assert_eq!(none, None, "nothing is left of it");
    }
}

#[test]
fn a_token_that_turns_bad_keeps_the_credit_and_harms_no_other_asset() {
    let mut world = InToken::new();
    world.propose(0).unwrap();
    let native = plain_offer(&world.evm);
    let native = sign(Offer {
        nonce: Hash32([9; 32]),
        ..native
    });
    world.evm.propose(party(BUYER), &native, PRICE).unwrap();
    world.evm.reject(party(PROVIDER), &world.offer).unwrap();
    world.evm.reject(party(PROVIDER), &native).unwrap();
    world.behave(Manner::Refuses, Bytes::new());
    let asset = world.asset();
    let failed = world.evm.withdraw(party(BUYER), asset);
    assert_eq!(failed.unwrap_err(), "TransferFailed");
    assert_eq!(world.evm.account(party(BUYER), asset).credit.units, PRICE);
    assert_eq!(world.evm.withdraw(party(BUYER), Asset::Native), Ok(PRICE));
    world.behave(Manner::Plain, Bytes::new());
    assert_eq!(world.evm.withdraw(party(BUYER), asset), Ok(PRICE));
}

#[test]
fn ether_with_a_token_a_token_without_code_and_no_allowance_are_refused() {
    let mut world = InToken::new();
    assert_eq!(world.propose(1), refused(EscrowError::WrongDeposit));
    let spender = world.evm.contract;
    let amount = U256::from(PRICE - 1);
    world.tell(party(BUYER), &TestToken::approveCall { spender, amount });
    assert_eq!(world.propose(0).unwrap_err(), "TransferFailed");
    world.offer.price_per_second.asset = Asset::Token(ChainAddress([6; 20]));
    world.offer = sign(world.offer.clone());
    assert!(world.propose(0).is_err());
}

#[test]
fn a_token_cannot_come_back_in_the_middle_of_a_payment() {
    // The inner payment would count twice: for itself, and as the growth that the outer one is checked by.
    let mut world = InToken::new();
    let (to, amount) = (world.token, U256::from(10 * PRICE));
    world.tell(STRANGER, &TestToken::mintCall { to, amount });
    let spender = world.evm.contract;
    world.tell(STRANGER, &TestToken::allowCall { spender });
    let asset = world.asset();
    let back = ExecEscrow::stakeCall {
        asset: abi::asset(asset),
        amount: U256::from(PRICE),
    };
    world.behave(Manner::Backdoor, back.abi_encode().into());
    assert_eq!(world.propose(0).unwrap_err(), "TransferFailed");
    world.behave(Manner::Plain, Bytes::new());
    world.propose(0).unwrap();
    world.evm.reject(party(PROVIDER), &world.offer).unwrap();
    let withdraw = ExecEscrow::withdrawCall {
        asset: abi::asset(asset),
        to: world.token,
    };
    world.behave(Manner::Backdoor, withdraw.abi_encode().into());
    let failed = world.evm.withdraw(party(BUYER), asset);
    assert_eq!(failed.unwrap_err(), "TransferFailed");
}
