//! The escrow's ABI and its conversions from and to the domain's words. Nothing outside this crate knows either.

use alloy::primitives::{Address, B256, U256};
use edge_types::{
    AgreementId, AgreementRecord, AgreementState, Amount, Asset, ChainAddress, ChainTime,
    EscrowTotals, Hash32, Offer, Slot, UtcTime,
};
use edge_wire::signing;

pub(crate) use generated::{ExecEscrow, Offer as SignedTerms};

mod generated {
    alloy::sol! {
        /// What a provider signs.
        #[derive(Debug)]
        struct Offer {
            address provider;
            bytes32 site;
            uint64 slotStart;
            uint64 slotEnd;
            bytes32 hardware;
            bytes32 sla;
            uint64 receiptInterval;
            address asset;
            uint256 pricePerSecond;
            uint64 expires;
            bytes32 nonce;
        }

        /// The contract.
        interface ExecEscrow {
            #[derive(Debug)]
            enum State { None, Proposed, Confirmed, Rejected, Expired, Settled }

            #[derive(Debug)]
            struct AgreementView {
                address buyer;
                address provider;
                uint64 slotStart;
                uint64 slotEnd;
                bytes32 site;
                uint256 pricePerSecond;
                uint256 deposit;
                State state;
                uint64 confirmBy;
                uint256 released;
                uint256 refunded;
                uint256 burned;
            }

            event Proposed(bytes32 indexed id, address indexed buyer, address indexed provider, uint256 deposit, uint64 confirmBy);
            event Confirmed(bytes32 indexed id);
            event Rejected(bytes32 indexed id);
            event Expired(bytes32 indexed id);
            event Settled(bytes32 indexed id, uint256 released, uint256 refunded, uint256 burned);
            #[derive(Debug)]
            event Withdrawn(address indexed account, address to, uint256 amount);

            error UnsupportedAsset();
            error BadSlot();
            error BadConfirmBy();
            error OfferExpired();
            error OfferConsumed();
            error PriceOutOfRange();
            error WrongDeposit();
            error BadSignature();
            error WrongState();
            error NotAllowed();
            error TooEarly();
            error TooLate();
            error DueExceedsDeposit();
            error WithdrawFailed();

            function propose(Offer calldata offer, bytes calldata signature, uint64 confirmBy) external payable returns (bytes32 id);
            function confirm(bytes32 id) external;
            function reject(bytes32 id) external;
            function expire(bytes32 id) external;
            function settle(bytes32 id, uint256 due, bytes calldata buyerSignature) external;
            function withdraw(address payable to) external returns (uint256 amount);
            function agreement(bytes32 id) external view returns (AgreementView memory v);
            function totals() external view returns (uint256 deposited, uint256 released, uint256 refunded, uint256 burned, uint256 held);
            function credits(address account) external view returns (uint256);
            function BURN_BASIS_POINTS() external view returns (uint256);
            function CHALLENGE_WINDOW() external view returns (uint64);
            function MAX_CONFIRM_TIME() external view returns (uint64);
            function MAX_HORIZON() external view returns (uint64);
            function PROVIDER_WINDOW() external view returns (uint64);
        }
    }
}

/// The part of an offer that the contract sees.
pub(crate) fn signed_terms(offer: &Offer) -> SignedTerms {
    let word = |hash: Hash32| B256::new(hash.0);
    SignedTerms {
        provider: Address::new(offer.provider.0),
        site: word(signing::site_hash(&offer.site)),
        slotStart: offer.slot.start.0,
        slotEnd: offer.slot.end.0,
        hardware: word(signing::hardware_hash(&offer.hardware)),
        sla: word(signing::sla_hash(&offer.sla, &offer.settlement)),
        receiptInterval: offer.sla.receipt_interval_seconds.into(),
        asset: match offer.price_per_second.asset {
            Asset::Native => Address::ZERO,
            Asset::Token(token) => Address::new(token.0),
        },
        pricePerSecond: U256::from(offer.price_per_second.units),
        expires: offer.expires.0,
        nonce: word(offer.nonce),
    }
}

/// A number from the chain does not fit the domain's type; the field's name.
pub(crate) type OutOfRange = &'static str;

/// The agreement in the domain's words; `None` if the ledger has none.
pub(crate) fn agreement_record(
    id: AgreementId,
    view: &ExecEscrow::AgreementView,
) -> Result<Option<AgreementRecord>, OutOfRange> {
    let state = match view.state {
        ExecEscrow::State::None => return Ok(None),
        ExecEscrow::State::Proposed => AgreementState::Proposed,
        ExecEscrow::State::Confirmed => AgreementState::Confirmed,
        ExecEscrow::State::Rejected => AgreementState::Rejected,
        ExecEscrow::State::Expired => AgreementState::Expired,
        ExecEscrow::State::Settled => AgreementState::Settled,
        ExecEscrow::State::__Invalid => return Err("state"),
    };
    Ok(Some(AgreementRecord {
        id,
        buyer: ChainAddress(view.buyer.into_array()),
        provider: ChainAddress(view.provider.into_array()),
        slot: Slot {
            start: UtcTime(view.slotStart),
            end: UtcTime(view.slotEnd),
        },
        site_hash: Hash32(view.site.0),
        price_per_second: amount("pricePerSecond", view.pricePerSecond)?,
        deposit: amount("deposit", view.deposit)?,
        state,
        confirm_by: ChainTime(view.confirmBy),
        released: amount("released", view.released)?,
        refunded: amount("refunded", view.refunded)?,
        burned: amount("burned", view.burned)?,
    }))
}

/// The sums in the domain's words.
pub(crate) fn escrow_totals(totals: &ExecEscrow::totalsReturn) -> Result<EscrowTotals, OutOfRange> {
    Ok(EscrowTotals {
        deposited: amount("deposited", totals.deposited)?,
        released: amount("released", totals.released)?,
        refunded: amount("refunded", totals.refunded)?,
        burned: amount("burned", totals.burned)?,
        held: amount("held", totals.held)?,
    })
}

/// Wei in the domain's words.
pub(crate) fn amount(field: &'static str, wei: U256) -> Result<Amount, OutOfRange> {
    u128::try_from(wei).map(Amount::wei).map_err(|_| field)
}
