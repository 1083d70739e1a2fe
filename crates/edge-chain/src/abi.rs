//! The escrow's ABI and its conversions from and to the domain's words. Nothing outside this crate knows either.

use alloy::primitives::{Address, B256, U256};
use edge_types::{
    AgreementRecord, AgreementState, Amount, Asset, ChainAddress, ChainTime, Claim, EscrowAccount,
    EscrowTotals, Hash32, Offer, UtcTime,
};
use edge_wire::signing;

pub(crate) use generated::{ExecEscrow, Offer as SignedTerms, Token};

mod generated {
    alloy::sol! {
        /// What a provider signs.
        #[derive(Debug)]
        struct Offer {
            address provider;
            address buyer;
            bytes32 site;
            uint64 slotStart;
            uint64 slotEnd;
            bytes32 hardware;
            bytes32 sla;
            uint64 receiptInterval;
            uint64 notice;
            uint64 answerTime;
            address asset;
            uint256 pricePerSecond;
            uint256 stake;
            address arbiter;
            uint64 expires;
            bytes32 nonce;
        }

        /// What of a token the client needs.
        interface Token {
            function allowance(address owner, address spender) external view returns (uint256);
            function balanceOf(address account) external view returns (uint256);
            function approve(address spender, uint256 value) external returns (bool);
        }

        /// The contract.
        interface ExecEscrow {
            #[derive(Debug)]
            enum State { None, Proposed, Confirmed, Claimed, Disputed, Rejected, Expired, Settled }

            #[derive(Debug)]
            event Withdrawn(address indexed account, address indexed asset, address to, uint256 amount);

            error BadSlot();
            error BadAnswerTime();
            error OfferExpired();
            error OfferConsumed();
            error PriceOutOfRange();
            error WrongDeposit();
            error StakeMissing();
            error BadSignature();
            error WrongState();
            error NotAllowed();
            error TooEarly();
            error TooLate();
            error DueOutOfRange();
            error SlashOutOfRange();
            error TransferFailed();
            error Reentered();

            function propose(Offer calldata offer, bytes calldata signature) external payable returns (bytes32 id);
            function proposeConfirmed(Offer calldata offer, uint64 until, bytes calldata confirmation) external payable returns (bytes32 id);
            function confirm(Offer calldata offer) external;
            function reject(Offer calldata offer) external;
            function giveNotice(Offer calldata offer, uint64 stop) external;
            function settle(Offer calldata offer, uint256 due, bytes calldata receipt) external;
            function settleMutually(Offer calldata offer, uint256 due, bytes calldata buyerSignature, bytes calldata providerSignature) external;
            function claim(Offer calldata offer, uint256 amount, uint256 floor, bytes calldata receipt) external;
            function dispute(Offer calldata offer) external;
            function rule(Offer calldata offer, uint256 due, uint256 slash) external;
            function close(Offer calldata offer) external;
            function stake(address asset, uint256 amount) external payable;
            function unstake(address asset, uint256 amount) external;
            function withdraw(address asset, address payable to) external returns (uint256 amount);
            function agreement(bytes32 id) external view returns (address buyer, State state, uint64 deadline, uint256 floor, uint256 due);
            function totals(address asset) external view returns (uint256 deposited, uint256 released, uint256 refunded, uint256 burned, uint256 held);
            function account(address who, address asset) external view returns (uint256 credit, uint256 reputation, uint256 freeStake, uint256 lockedStake);
            function ARBITRATION_TIME() external view returns (uint64);
            function BURN_BASIS_POINTS() external view returns (uint256);
            function CHALLENGE_WINDOW() external view returns (uint64);
            function MAX_CONFIRM_TIME() external view returns (uint64);
            function MAX_HORIZON() external view returns (uint64);
            function PROVIDER_WINDOW() external view returns (uint64);
        }
    }
}

/// An asset as the contract names it.
pub(crate) const fn asset(asset: Asset) -> Address {
    match asset {
        Asset::Native => Address::ZERO,
        Asset::Token(token) => Address::new(token.0),
    }
}

/// The part of an offer that the contract sees.
pub(crate) fn signed_terms(offer: &Offer) -> SignedTerms {
    let word = |hash: Hash32| B256::new(hash.0);
    let or_nobody =
        |address: Option<ChainAddress>| address.map_or(Address::ZERO, |it| Address::new(it.0));
    SignedTerms {
        provider: Address::new(offer.provider.0),
        buyer: or_nobody(offer.buyer),
        site: word(signing::site_hash(&offer.site)),
        slotStart: offer.slot.start.0,
        slotEnd: offer.slot.end.0,
        hardware: word(signing::hardware_hash(&offer.hardware)),
        sla: word(signing::sla_hash(offer)),
        receiptInterval: offer.sla.receipt_interval_seconds.into(),
        notice: offer.sla.notice_seconds.into(),
        answerTime: offer.guarantee.answer_seconds.into(),
        asset: asset(offer.price_per_second.asset),
        pricePerSecond: U256::from(offer.price_per_second.units),
        stake: U256::from(offer.guarantee.stake),
        arbiter: or_nobody(offer.guarantee.arbiter),
        expires: offer.expires.0,
        nonce: word(offer.nonce),
    }
}

/// A number from the chain does not fit the domain's type; the field's name.
pub(crate) type OutOfRange = &'static str;

/// The agreement on an offer in the domain's words; `None` if the ledger has none.
pub(crate) fn agreement_record(
    offer: &Offer,
    view: &ExecEscrow::agreementReturn,
) -> Result<Option<AgreementRecord>, OutOfRange> {
    let state = match view.state {
        ExecEscrow::State::None => return Ok(None),
        ExecEscrow::State::Proposed => AgreementState::Proposed,
        ExecEscrow::State::Confirmed => AgreementState::Confirmed,
        ExecEscrow::State::Claimed => AgreementState::Claimed,
        ExecEscrow::State::Disputed => AgreementState::Disputed,
        ExecEscrow::State::Rejected => AgreementState::Rejected,
        ExecEscrow::State::Expired => AgreementState::Expired,
        ExecEscrow::State::Settled => AgreementState::Settled,
        ExecEscrow::State::__Invalid => return Err("state"),
    };
    let deposit = offer
        .price_per_second
        .times(offer.slot.seconds())
        .map_err(|_| "price")?;
    let amount = |units| Amount { units, ..deposit };
    let due = self::amount(deposit.asset, "due", view.due)?;
    let is_claimed = matches!(state, AgreementState::Claimed | AgreementState::Disputed);
    let stopped = state == AgreementState::Confirmed && view.deadline != 0;
    // Of what is paid to a provider, a hundredth is burned.
    let (released, refunded, burned) = if state.is_final() {
        let burned = due.units / 100;
        let refunded = deposit.units.checked_sub(due.units).ok_or("due")?;
        (due.units - burned, refunded, burned)
    } else {
        (0, 0, 0)
    };
    Ok(Some(AgreementRecord {
        id: offer.id.into(),
        buyer: ChainAddress(view.buyer.into_array()),
        provider: offer.provider,
        slot: offer.slot,
        site_hash: signing::site_hash(&offer.site),
        price_per_second: offer.price_per_second,
        deposit,
        state,
        deadline: (is_claimed || state == AgreementState::Proposed)
            .then_some(ChainTime(view.deadline)),
        ends_at: if stopped {
            UtcTime(view.deadline)
        } else {
            offer.slot.end
        },
        claim: if is_claimed {
            Some(Claim {
                floor: self::amount(deposit.asset, "floor", view.floor)?,
                amount: due,
            })
        } else {
            None
        },
        released: amount(released),
        refunded: amount(refunded),
        burned: amount(burned),
    }))
}

/// The sums in the domain's words.
pub(crate) fn escrow_totals(
    asset: Asset,
    totals: &ExecEscrow::totalsReturn,
) -> Result<EscrowTotals, OutOfRange> {
    Ok(EscrowTotals {
        deposited: amount(asset, "deposited", totals.deposited)?,
        released: amount(asset, "released", totals.released)?,
        refunded: amount(asset, "refunded", totals.refunded)?,
        burned: amount(asset, "burned", totals.burned)?,
        held: amount(asset, "held", totals.held)?,
    })
}

/// What the escrow keeps of an account in the domain's words.
pub(crate) fn escrow_account(
    asset: Asset,
    view: &ExecEscrow::accountReturn,
) -> Result<EscrowAccount, OutOfRange> {
    Ok(EscrowAccount {
        credit: amount(asset, "credit", view.credit)?,
        reputation: amount(asset, "reputation", view.reputation)?,
        free_stake: amount(asset, "freeStake", view.freeStake)?,
        locked_stake: amount(asset, "lockedStake", view.lockedStake)?,
    })
}

/// Units in the domain's words.
pub(crate) fn amount(asset: Asset, field: &'static str, units: U256) -> Result<Amount, OutOfRange> {
    let units = u128::try_from(units).map_err(|_| field)?;
    Ok(Amount { asset, units })
}
