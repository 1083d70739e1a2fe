//! Sending a transaction: nonce, fees, and waiting until it counts.

use std::sync::PoisonError;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::Encodable2718;
use alloy::network::TxSignerSync;
use alloy::primitives::{Address, B256, Bytes, TxKind, U64, U256};
use alloy::rpc::json_rpc::ErrorPayload;
use alloy::rpc::types::{Block, TransactionReceipt, TransactionRequest};
use edge_ports::{Ledger, LedgerError};
use tokio::time::{Instant, sleep};

use super::nonces::Reserved;
use super::rpc::{self, SendRefusal, read_error};
use super::{ATTEMPTS, EthLedger, FEES_AGE, Fees, escrow_error, gas, in_range};

/// The fees of a transaction are raised this often at most.
const MAX_VERSIONS: usize = 12;

impl EthLedger {
    /// Signs and sends a transaction and waits until it counts.
    pub(crate) async fn transact(
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

    /// Sends until the node has it, then looks until it is deep enough, and raises the fees while no block takes it.
    /// Sending the same bytes again is harmless, and of several versions with one nonce one at most is ever included.
    async fn submit(
        &self,
        attempted: &'static str,
        mut transaction: TxEip1559,
        deadline: Instant,
    ) -> Result<Submitted, LedgerError> {
        let mut versions = vec![self.sign(transaction.clone())];
        // Does the node have the last version, and has it ever had one?
        let (mut is_there, mut was_there) = (false, false);
        let mut raise_at = Instant::now() + self.config.raise_after;
        loop {
            let outcome = self.look(attempted, &versions, !is_there).await;
            let mut is_included = false;
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
                    (is_there, was_there, is_included) = (true, true, true);
                    None
                }
                Ok(Look {
                    refusal: Some(refusal),
                    ..
                }) if !was_there => return Ok(Submitted::Refused(refusal)),
                // It was taken before: a block has it that this node does not show yet, or the raise was too small.
                Ok(Look {
                    refusal: Some(_), ..
                }) => {
                    is_there = true;
                    None
                }
                // Not there yet, or dropped by a reorganisation: offer it again next time.
                Ok(Look { .. }) => {
                    (is_there, was_there) = (false, true);
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
            if was_there && !is_included && Instant::now() >= raise_at {
                raise_at = Instant::now() + self.config.raise_after;
                if versions.len() < MAX_VERSIONS && self.raise(&mut transaction) {
                    versions.push(self.sign(transaction.clone()));
                    is_there = false;
                }
            }
            sleep(self.config.poll_interval).await;
        }
    }

    /// Raises both fees by a quarter, more than the tenth that nodes ask of a replacement; false if that is above the
    /// limit.
    fn raise(&self, transaction: &mut TxEip1559) -> bool {
        let quarter_more = |fee: u128| fee.saturating_add(fee / 4).saturating_add(1);
        let max_fee = quarter_more(transaction.max_fee_per_gas);
        if max_fee > self.config.max_fee_per_gas {
            return false;
        }
        transaction.max_fee_per_gas = max_fee;
        transaction.max_priority_fee_per_gas =
            quarter_more(transaction.max_priority_fee_per_gas).min(max_fee);
        true
    }

    /// One round trip: offers the last version (if wanted) and asks for the receipts of all and the height of the chain.
    async fn look(
        &self,
        attempted: &'static str,
        versions: &[(B256, Bytes)],
        offers: bool,
    ) -> Result<Look, LedgerError> {
        let error = read_error(attempted);
        let mut batch = self.client.new_batch();
        let sent = versions
            .last()
            .filter(|_| offers)
            .map(|(_, raw)| batch.add_call::<_, B256>("eth_sendRawTransaction", &(raw,)))
            .transpose()
            .map_err(&error)?;
        let mut receipts = Vec::new();
        for (hash, _) in versions {
            let receipt = batch
                .add_call::<_, Option<TransactionReceipt>>("eth_getTransactionReceipt", &(hash,))
                .map_err(&error)?;
            receipts.push(receipt);
        }
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
        let mut included = None;
        for receipt in receipts {
            included = included.or(receipt.await.map_err(&error)?);
        }
        Ok(Look {
            refusal: refusal.flatten(),
            receipt: included,
            head: head.await.map_err(&error)?.to(),
        })
    }

    pub(super) async fn pending_nonce(&self, attempted: &'static str) -> Result<u64, LedgerError> {
        let account = Address::new(self.account().0);
        let nonce: U64 = self
            .client
            .request("eth_getTransactionCount", (account, "pending"))
            .await
            .map_err(read_error(attempted))?;
        Ok(nonce.to())
    }

    /// Twice the base fee and the node's idea of a tip, at most [`FEES_AGE`] old.
    pub(super) async fn fees(&self, attempted: &'static str) -> Result<Fees, LedgerError> {
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
        let tip = tip.min(self.config.max_tip_per_gas);
        let max_fee = u128::from(base).saturating_mul(2).saturating_add(tip);
        let fees = Fees {
            max_fee: max_fee.min(self.config.max_fee_per_gas),
            tip: tip.min(self.config.max_fee_per_gas),
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

enum Submitted {
    Included(Box<TransactionReceipt>),
    Refused(SendRefusal),
}

struct Look {
    refusal: Option<SendRefusal>,
    receipt: Option<TransactionReceipt>,
    head: u64,
}
