//! The ledger: who holds which money under which agreement, by a chain or by a party's own book.

use std::fmt;

use edge_types::{
    AgreementId, AgreementRecord, Amount, Asset, ChainAddress, ChainId, ChainTime, Confirmation,
    EscrowTotals, Hash32, Offer, Receipt, Signature, UtcTime,
};

use crate::BoxFuture;

/// One account's view of one escrow contract on one chain.
///
/// Every mutation resolves when the transaction has the configured number of confirmations, so that a state read
/// afterwards includes it. State is what counts: callers poll [`Ledger::agreement`] and reconcile; there are no events.
pub trait Ledger: Send + Sync + fmt::Debug {
    /// The chain.
    fn chain(&self) -> ChainId;
    /// The escrow contract.
    fn contract(&self) -> ChainAddress;
    /// The account that signs.
    fn account(&self) -> ChainAddress;

    /// Checks that the runtime code at [`Ledger::contract`] is exactly that of the escrow this build knows (rule 10).
    /// Mutations do this before the first transaction by themselves.
    fn verify_contract(&self) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Pays `price × slot seconds` into escrow under the provider's signed offer. With the provider's confirmation to
    /// this account it is agreed at once; without one the provider has to answer on the ledger.
    fn propose<'a>(
        &'a self,
        offer: &'a Offer,
        confirmation: Option<&'a Confirmation>,
    ) -> BoxFuture<'a, Result<AgreementId, LedgerError>>;
    /// Provider: accepts.
    fn confirm<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<(), LedgerError>>;
    /// Provider: declines; the deposit is credited back to the buyer.
    fn reject<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<(), LedgerError>>;
    /// Provider: takes the hardware back at `stop`, before the end of the slot, after the agreed notice.
    fn give_notice<'a>(
        &'a self,
        offer: &'a Offer,
        stop: UtcTime,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;
    /// Provider, once the service is over: asks for `amount` in all, of which `receipt` proves a part. The buyer can
    /// dispute it for a while.
    fn claim<'a>(
        &'a self,
        offer: &'a Offer,
        amount: Amount,
        receipt: Option<Receipt>,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;
    /// Buyer or provider: takes a claim to the arbiter, or to time.
    fn dispute<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<(), LedgerError>>;
    /// Anyone who has both parties' signatures of the closing: divides the deposit by them, `due` to the provider.
    fn settle_mutually<'a>(
        &'a self,
        offer: &'a Offer,
        due: Amount,
        buyer: Signature,
        provider: Signature,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;
    /// With the buyer's receipt: the provider closes and divides the deposit by it, or the buyer does once the service
    /// and a window for the provider's answer are over.
    fn settle<'a>(
        &'a self,
        offer: &'a Offer,
        receipt: Receipt,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;
    /// Anyone, once the time for it has come: ends what nobody else ended. An offer that was not answered gives the
    /// deposit back; a service without receipt, a claim without denial and a dispute without ruling are settled.
    fn close<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<(), LedgerError>>;
    /// Moves this account's credit in an asset out of the contract; the amount moved, zero if there was none.
    fn withdraw(&self, asset: Asset) -> BoxFuture<'_, Result<Amount, LedgerError>>;

    /// The agreement on this offer as the ledger has it; `None` if it has none. The ledger keeps no more of the terms
    /// than their digest, which is why the offer is needed.
    fn agreement<'a>(
        &'a self,
        offer: &'a Offer,
    ) -> BoxFuture<'a, Result<Option<AgreementRecord>, LedgerError>>;
    /// The escrow's sums over all agreements in an asset.
    fn totals(&self, asset: Asset) -> BoxFuture<'_, Result<EscrowTotals, LedgerError>>;
    /// What of an account's stake in an asset no agreement holds.
    fn free_stake(
        &self,
        account: ChainAddress,
        asset: Asset,
    ) -> BoxFuture<'_, Result<Amount, LedgerError>>;
    /// The chain's native balance of an account.
    fn balance(&self, account: ChainAddress) -> BoxFuture<'_, Result<Amount, LedgerError>>;
    /// Time of the latest block.
    fn now(&self) -> BoxFuture<'_, Result<ChainTime, LedgerError>>;
}

/// An operation on the ledger failed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The node could not be reached or did not answer in time. Transient; the operation may or may not have happened.
    #[error("the chain node did not answer while {attempted}")]
    Unreachable {
        /// What was being done.
        attempted: &'static str,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The contract refused; its error's name, e.g. `TooEarly`.
    #[error("the escrow refused to {attempted}: {error}")]
    Refused {
        /// What was being done.
        attempted: &'static str,
        /// Name of the contract's error, or the node's message.
        error: String,
    },
    /// The code at the contract's address is not the escrow that this build knows. No money may move.
    #[error("contract {contract} has code {found}, not {expected}")]
    UnknownContract {
        /// Its address.
        contract: ChainAddress,
        /// keccak-256 of the code found.
        found: Hash32,
        /// keccak-256 of the known code.
        expected: Hash32,
    },
    /// Two nodes were asked and gave different answers: one lags, or one lies. Transient if it lags; nothing may rest on
    /// either until they agree (rule 10).
    #[error("two nodes disagree while {attempted}")]
    Disagreement {
        /// What was being done.
        attempted: &'static str,
    },
    /// The node serves another chain than configured.
    #[error("the node serves chain {}, not {}", found.0, expected.0)]
    WrongChain {
        /// What it serves.
        found: ChainId,
        /// What was configured.
        expected: ChainId,
    },
    /// The party's own book could not be written: nothing was done.
    #[error("the book could not be written while {attempted}")]
    Unwritten {
        /// What was being done.
        attempted: &'static str,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The offer is not one that this ledger can pay: another chain, contract or asset, or a price out of range.
    #[error("the offer cannot be paid here: {detail}")]
    NotPayable {
        /// Which part.
        detail: &'static str,
    },
    /// The node's answer could not be understood.
    #[error("the chain node's answer while {attempted} makes no sense: {detail}")]
    Malformed {
        /// What was being done.
        attempted: &'static str,
        /// What was wrong.
        detail: String,
    },
}
