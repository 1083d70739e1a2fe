//! What the escrow can be asked and told to do.

use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::rpc::client::RpcClient;
use alloy::rpc::types::Block;
use alloy::sol_types::{SolCall, SolEvent};
use edge_ports::{BoxFuture, Ledger, LedgerError, Signer};
use edge_types::{
    AgreementId, AgreementRecord, Amount, Asset, ChainAddress, ChainId, ChainTime, Confirmation,
    EscrowAccount, EscrowTotals, Offer, Receipt, Settlement, Signature, UtcTime,
};
use edge_wire::signing;

use super::rpc::read_error;
use super::{EthLedger, gas, in_range};
use crate::abi::{self, ExecEscrow, Token};

/// Beside what [`Ledger`] asks for: rulings and stake.
impl EthLedger {
    /// Arbiter: decides a dispute, and how much of the provider's stake is burned.
    pub async fn rule(&self, offer: &Offer, due: Amount, slash: Amount) -> Result<(), LedgerError> {
        let call = ExecEscrow::ruleCall {
            offer: abi::signed_terms(offer),
            due: U256::from(due.units),
            slash: U256::from(slash.units),
        };
        self.mutate("ruling", &call, 0, gas::SETTLE).await?;
        Ok(())
    }

    /// Provider: adds to the stake that its offers promise.
    pub async fn stake(&self, amount: Amount) -> Result<(), LedgerError> {
        let attempted = "staking";
        let call = ExecEscrow::stakeCall {
            asset: abi::asset(amount.asset),
            amount: U256::from(amount.units),
        };
        self.pay(attempted, &call, amount, gas::SETTLE).await?;
        Ok(())
    }

    /// Provider: turns stake that no agreement holds into a credit.
    pub async fn unstake(&self, amount: Amount) -> Result<(), LedgerError> {
        let call = ExecEscrow::unstakeCall {
            asset: abi::asset(amount.asset),
            amount: U256::from(amount.units),
        };
        self.mutate("unstaking", &call, 0, gas::ANSWER).await?;
        Ok(())
    }

    /// What the escrow keeps of an account in an asset.
    pub async fn escrow_account(
        &self,
        account: ChainAddress,
        asset: Asset,
    ) -> Result<EscrowAccount, LedgerError> {
        let attempted = "reading an account";
        let call = ExecEscrow::accountCall {
            who: Address::new(account.0),
            asset: abi::asset(asset),
        };
        let view = self.view(attempted, &call).await?;
        in_range(attempted, abi::escrow_account(asset, &view))
    }

    /// What an account has of a token.
    pub async fn token_balance(
        &self,
        account: ChainAddress,
        token: ChainAddress,
    ) -> Result<Amount, LedgerError> {
        let attempted = "reading a token's balance";
        let call = Token::balanceOfCall {
            account: Address::new(account.0),
        };
        let units = self.call(attempted, Address::new(token.0), &call).await?;
        in_range(
            attempted,
            abi::amount(Asset::Token(token), "balance", units),
        )
    }

    /// What the escrow may fetch of this account's token; nothing, but while a payment is under way.
    pub async fn allowance(&self, token: ChainAddress) -> Result<Amount, LedgerError> {
        let attempted = "reading an allowance";
        let units = self.allowed(attempted, Address::new(token.0)).await?;
        in_range(
            attempted,
            abi::amount(Asset::Token(token), "allowance", units),
        )
    }

    async fn allowed(&self, attempted: &'static str, token: Address) -> Result<U256, LedgerError> {
        let call = Token::allowanceCall {
            owner: Address::new(self.account().0),
            spender: self.contract_address(),
        };
        self.call(attempted, token, &call).await
    }

    /// Carries out a call that takes `amount`: all of the chain's own currency goes along with it, and of a token the escrow is
    /// allowed to fetch exactly so much, and nothing afterwards.
    async fn pay<C: SolCall>(
        &self,
        attempted: &'static str,
        call: &C,
        amount: Amount,
        gas: u64,
    ) -> Result<(), LedgerError> {
        let Asset::Token(token) = amount.asset else {
            self.mutate(attempted, call, amount.units, gas).await?;
            return Ok(());
        };
        // An allowance is one number for all that is paid in a token, so payments take turns.
        let _turn = self.allowance.lock().await;
        let token = Address::new(token.0);
        self.allow(attempted, token, U256::from(amount.units))
            .await?;
        let paid = self.mutate(attempted, call, 0, gas + gas::TOKEN).await;
        if let Err(LedgerError::Refused { .. }) = paid
            && let Err(error) = self.allow(attempted, token, U256::ZERO).await
        {
            tracing::warn!(%error, %token, "an allowance that was not used stays until the next payment");
        }
        paid.map(drop)
    }

    /// Sets what the escrow may fetch of a token.
    async fn allow(
        &self,
        attempted: &'static str,
        token: Address,
        wanted: U256,
    ) -> Result<(), LedgerError> {
        self.verify(attempted).await?;
        let spender = self.contract_address();
        let allowed = self.allowed(attempted, token).await?;
        if allowed == wanted {
            return Ok(());
        }
        // Some tokens let an allowance be set only from zero.
        let by_zero = !allowed.is_zero() && !wanted.is_zero();
        for value in by_zero.then_some(U256::ZERO).into_iter().chain([wanted]) {
            let input = Token::approveCall { spender, value }.abi_encode().into();
            let to = TxKind::Call(token);
            self.transact(attempted, to, input, U256::ZERO, gas::TOKEN)
                .await?;
        }
        Ok(())
    }

    /// Is the offer one that this ledger can pay? What it costs.
    fn payable(&self, offer: &Offer) -> Result<Amount, LedgerError> {
        let here = Settlement::Escrow {
            chain: self.config.chain,
            contract: self.config.contract,
        };
        let not_payable = |detail| LedgerError::NotPayable { detail };
        if offer.settlement != here {
            return Err(not_payable("another chain or contract"));
        }
        if signing::offer_digest(offer) != offer.id {
            return Err(not_payable("its id is not its digest"));
        }
        offer
            .price_per_second
            .times(offer.slot.seconds())
            .map_err(|_| not_payable("the price is out of range"))
    }
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
        confirmation: Option<&'a Confirmation>,
    ) -> BoxFuture<'a, Result<AgreementId, LedgerError>> {
        Box::pin(async move {
            let attempted = "proposing";
            let price = self.payable(offer)?;
            let terms = abi::signed_terms(offer);
            match confirmation {
                Some(confirmation) => {
                    let call = ExecEscrow::proposeConfirmedCall {
                        offer: terms,
                        until: confirmation.until.0,
                        confirmation: confirmation.signature.0.into(),
                    };
                    self.pay(attempted, &call, price, gas::PROPOSE).await?;
                }
                None => {
                    let call = ExecEscrow::proposeCall {
                        offer: terms,
                        signature: offer.signature.0.into(),
                    };
                    self.pay(attempted, &call, price, gas::PROPOSE).await?;
                }
            }
            Ok(offer.id.into())
        })
    }

    fn confirm<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            let offer = abi::signed_terms(offer);
            let call = ExecEscrow::confirmCall { offer };
            self.mutate("confirming", &call, 0, gas::ANSWER).await?;
            Ok(())
        })
    }

    fn reject<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            let offer = abi::signed_terms(offer);
            let call = ExecEscrow::rejectCall { offer };
            self.mutate("rejecting", &call, 0, gas::ANSWER).await?;
            Ok(())
        })
    }

    fn give_notice<'a>(
        &'a self,
        offer: &'a Offer,
        stop: UtcTime,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            let call = ExecEscrow::giveNoticeCall {
                offer: abi::signed_terms(offer),
                stop: stop.0,
            };
            self.mutate("giving notice", &call, 0, gas::ANSWER).await?;
            Ok(())
        })
    }

    fn claim<'a>(
        &'a self,
        offer: &'a Offer,
        amount: Amount,
        receipt: Option<Receipt>,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            let call = ExecEscrow::claimCall {
                offer: abi::signed_terms(offer),
                amount: U256::from(amount.units),
                floor: U256::from(receipt.map_or(0, |receipt| receipt.due.units)),
                receipt: receipt.map_or_else(Bytes::new, |receipt| receipt.signature.0.into()),
            };
            self.mutate("claiming", &call, 0, gas::SETTLE).await?;
            Ok(())
        })
    }

    fn dispute<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            let offer = abi::signed_terms(offer);
            let call = ExecEscrow::disputeCall { offer };
            self.mutate("disputing", &call, 0, gas::ANSWER).await?;
            Ok(())
        })
    }

    fn settle_mutually<'a>(
        &'a self,
        offer: &'a Offer,
        due: Amount,
        buyer: Signature,
        provider: Signature,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            let call = ExecEscrow::settleMutuallyCall {
                offer: abi::signed_terms(offer),
                due: U256::from(due.units),
                buyerSignature: buyer.0.into(),
                providerSignature: provider.0.into(),
            };
            self.mutate("settling", &call, 0, gas::SETTLE).await?;
            Ok(())
        })
    }

    fn settle<'a>(
        &'a self,
        offer: &'a Offer,
        receipt: Receipt,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            let call = ExecEscrow::settleCall {
                offer: abi::signed_terms(offer),
                due: U256::from(receipt.due.units),
                receipt: receipt.signature.0.into(),
            };
            self.mutate("settling", &call, 0, gas::SETTLE).await?;
            Ok(())
        })
    }

    fn close<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            let offer = abi::signed_terms(offer);
            let call = ExecEscrow::closeCall { offer };
            self.mutate("closing", &call, 0, gas::SETTLE).await?;
            Ok(())
        })
    }

    fn withdraw(&self, asset: Asset) -> BoxFuture<'_, Result<Amount, LedgerError>> {
        Box::pin(async move {
            let attempted = "withdrawing";
            let account = self.escrow_account(self.account(), asset).await?;
            if account.credit.units == 0 {
                return Ok(account.credit);
            }
            let call = ExecEscrow::withdrawCall {
                asset: abi::asset(asset),
                to: Address::new(self.account().0),
            };
            let receipt = self.mutate(attempted, &call, 0, gas::WITHDRAW).await?;
            let moved = receipt
                .logs()
                .iter()
                .filter(|log| log.address() == self.contract_address())
                .find_map(|log| ExecEscrow::Withdrawn::decode_log_data(log.data()).ok())
                .map_or(U256::ZERO, |event| event.amount);
            in_range(attempted, abi::amount(asset, "amount", moved))
        })
    }

    fn agreement<'a>(
        &'a self,
        offer: &'a Offer,
    ) -> BoxFuture<'a, Result<Option<AgreementRecord>, LedgerError>> {
        Box::pin(async move {
            let attempted = "reading an agreement";
            let id = B256::new(offer.id.0);
            let view = self
                .view(attempted, &ExecEscrow::agreementCall { id })
                .await?;
            in_range(attempted, abi::agreement_record(offer, &view))
        })
    }

    fn totals(&self, asset: Asset) -> BoxFuture<'_, Result<EscrowTotals, LedgerError>> {
        Box::pin(async move {
            let attempted = "reading the escrow's sums";
            let call = ExecEscrow::totalsCall {
                asset: abi::asset(asset),
            };
            let totals = self.view(attempted, &call).await?;
            in_range(attempted, abi::escrow_totals(asset, &totals))
        })
    }

    fn free_stake(
        &self,
        account: ChainAddress,
        asset: Asset,
    ) -> BoxFuture<'_, Result<Amount, LedgerError>> {
        Box::pin(async move { Ok(self.escrow_account(account, asset).await?.free_stake) })
    }

    fn balance(&self, account: ChainAddress) -> BoxFuture<'_, Result<Amount, LedgerError>> {
        Box::pin(async move {
            let attempted = "reading a balance";
            let wei: U256 = self
                .client
                .request("eth_getBalance", (Address::new(account.0), "latest"))
                .await
                .map_err(read_error(attempted))?;
            in_range(attempted, abi::amount(Asset::Native, "balance", wei))
        })
    }

    fn now(&self) -> BoxFuture<'_, Result<ChainTime, LedgerError>> {
        Box::pin(async move {
            let time = |node: &RpcClient| {
                let block =
                    node.request::<_, Block<B256>>("eth_getBlockByNumber", ("latest", false));
                async move {
                    let block = block
                        .await
                        .map_err(read_error("reading the chain's time"))?;
                    Ok(ChainTime(block.header.timestamp))
                }
            };
            match &self.second {
                None => time(&self.client).await,
                // What is too early for one node is too early.
                Some(second) => {
                    let (one, other) = tokio::join!(time(&self.client), time(second));
                    Ok(one?.min(other?))
                }
            }
        })
    }
}
