//! JSON-RPC 2.0 and the `eth_*` methods that clients need.

use alloy::consensus::Transaction as _;
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{Address, B256, Bytes, TxKind, U64, U256};
use alloy::rpc::types::{
    self as wire, BlockTransactions, FeeHistory, Filter, TransactionInfo, TransactionRequest,
};
use revm::context::result::ExecutionResult;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::evm::{BASE_FEE, Call, GAS_LIMIT};
use super::node::{Block, Node, Rejected};

/// Most requests in one batch.
const MAX_BATCH: usize = 100;
/// Most blocks whose logs or fees one request can ask for.
const MAX_RANGE: u64 = 10_000;
/// How far one request can put the time ahead, seconds: a year.
const MAX_LEAP: u64 = 366 * 86_400;
/// What is suggested as a tip, wei per gas; blocks are never full, so it buys nothing.
const TIP: u64 = 1;

#[derive(Debug, Deserialize)]
struct Request {
    jsonrpc: String,
    method: String,
    #[serde(default)]
    params: Value,
    id: Option<Value>,
}

/// A JSON-RPC error object.
#[derive(Debug, Serialize)]
struct Failure {
    code: i32,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Bytes>,
}

impl Failure {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    fn params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }
}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Self {
        Self::new(-32000, rejected.to_string())
    }
}

/// Answers one request or batch; `None` if nothing in it wants an answer.
pub(super) fn answer(node: &mut Node, body: &[u8], now: u64) -> Option<Vec<u8>> {
    let answered = match serde_json::from_slice(body) {
        Err(_) => Some(failed(&Value::Null, &Failure::new(-32700, "parse error"))),
        Ok(Value::Array(requests)) if requests.is_empty() || requests.len() > MAX_BATCH => {
            let message = format!("a batch has 1 to {MAX_BATCH} requests");
            Some(failed(&Value::Null, &Failure::new(-32600, message)))
        }
        Ok(Value::Array(requests)) => {
            let answers: Vec<Value> = requests
                .into_iter()
                .filter_map(|request| answer_one(node, request, now))
                .collect();
            (!answers.is_empty()).then_some(Value::Array(answers))
        }
        Ok(request) => answer_one(node, request, now),
    };
    answered.map(|value| value.to_string().into_bytes())
}

fn answer_one(node: &mut Node, request: Value, now: u64) -> Option<Value> {
    let now = node.time(now);
    let request: Request = match serde_json::from_value(request) {
        Ok(request) => request,
        Err(_) => {
            return Some(failed(
                &Value::Null,
                &Failure::new(-32600, "invalid request"),
            ));
        }
    };
    if request.jsonrpc != "2.0" {
        let id = request.id.unwrap_or_default();
        return Some(failed(&id, &Failure::new(-32600, "not JSON-RPC 2.0")));
    }
    let outcome = dispatch(node, &request.method, request.params, now);
    let id = request.id?;
    Some(match outcome {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(failure) => failed(&id, &failure),
    })
}

fn failed(id: &Value, failure: &Failure) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": failure })
}

fn dispatch(node: &mut Node, method: &str, params: Value, now: u64) -> Result<Value, Failure> {
    if method != "eth_sendRawTransaction" {
        node.tick(now);
    }
    match method {
        // As on other development chains: deadlines of days can be tried in seconds.
        "evm_increaseTime" => {
            let [seconds]: [U64; 1] = parse(params)?;
            if seconds.to::<u64>() > MAX_LEAP {
                return Err(Failure::params(format!("at most {MAX_LEAP} seconds")));
            }
            to_value(node.put_ahead(seconds.to()))
        }
        "eth_chainId" => to_value(U64::from(node.chain_id())),
        "net_version" => to_value(node.chain_id().to_string()),
        "web3_clientVersion" => to_value(concat!("exec-edge/v", env!("CARGO_PKG_VERSION"), "/dev")),
        "eth_syncing" => to_value(false),
        "eth_blockNumber" => to_value(U64::from(node.height())),
        "eth_gasPrice" => to_value(U64::from(BASE_FEE + TIP)),
        "eth_maxPriorityFeePerGas" => to_value(U64::from(TIP)),
        "eth_accounts" => to_value([Address::ZERO; 0]),
        "eth_getBlockByNumber" => {
            let (tag, full): (BlockNumberOrTag, bool) = parse(params)?;
            let block = number_of(node, tag).and_then(|number| node.block(number));
            to_value(block.map(|block| wire_block(node, block, full)))
        }
        "eth_getBlockByHash" => {
            let (hash, full): (B256, bool) = parse(params)?;
            let block = node.block_by_hash(hash);
            to_value(block.map(|block| wire_block(node, block, full)))
        }
        "eth_getBalance" => {
            let account = account_at(node, params)?;
            to_value(node.state().account(account).balance)
        }
        "eth_getTransactionCount" => {
            let (account, block): (Address, Option<BlockId>) = parse_optional(params)?;
            let pending = block == Some(BlockId::pending());
            require_latest(node, block)?;
            to_value(U64::from(if pending {
                node.pending_nonce(account)
            } else {
                node.state().account(account).nonce
            }))
        }
        "eth_getCode" => {
            let account = account_at(node, params)?;
            to_value(node.state().code(account))
        }
        "eth_getStorageAt" => {
            let (account, slot, block): (Address, U256, BlockId) = parse(params)?;
            require_latest(node, Some(block))?;
            to_value(B256::from(node.state().storage(account, slot)))
        }
        "eth_call" => call(node, params, now),
        "eth_estimateGas" => estimate(node, params, now),
        "eth_sendRawTransaction" => {
            let (raw,): (Bytes,) = parse(params)?;
            to_value(node.submit(&raw, now)?)
        }
        "eth_getTransactionReceipt" => {
            let (hash,): (B256,) = parse(params)?;
            to_value(node.mined(hash).map(|mined| &mined.receipt))
        }
        "eth_getTransactionByHash" => {
            let (hash,): (B256,) = parse(params)?;
            to_value(wire_transaction(node, hash))
        }
        "eth_feeHistory" => fee_history(node, params),
        "eth_getLogs" => logs(node, params),
        _ => Err(Failure::new(
            -32601,
            format!("the method {method:.64} does not exist or is not available"),
        )),
    }
}

fn parse<T: DeserializeOwned>(params: Value) -> Result<T, Failure> {
    serde_json::from_value(params)
        .map_err(|error| Failure::params(format!("invalid params: {error}")))
}

/// Two parameters of which the second may be left out.
fn parse_optional<A: DeserializeOwned, B: DeserializeOwned>(
    mut params: Value,
) -> Result<(A, Option<B>), Failure> {
    if let Value::Array(list) = &mut params
        && list.len() == 1
    {
        list.push(Value::Null);
    }
    parse(params)
}

fn to_value<T: Serialize>(result: T) -> Result<Value, Failure> {
    serde_json::to_value(result).map_err(|error| Failure::new(-32603, error.to_string()))
}

fn account_at(node: &Node, params: Value) -> Result<Address, Failure> {
    let (account, block): (Address, Option<BlockId>) = parse_optional(params)?;
    require_latest(node, block)?;
    Ok(account)
}

fn number_of(node: &Node, tag: BlockNumberOrTag) -> Option<u64> {
    match tag {
        BlockNumberOrTag::Earliest => Some(0),
        BlockNumberOrTag::Number(number) => (number <= node.height()).then_some(number),
        BlockNumberOrTag::Latest
        | BlockNumberOrTag::Pending
        | BlockNumberOrTag::Safe
        | BlockNumberOrTag::Finalized => Some(node.height()),
    }
}

/// Only the latest state is kept.
fn require_latest(node: &Node, block: Option<BlockId>) -> Result<(), Failure> {
    let number = match block {
        None => Some(node.height()),
        Some(BlockId::Number(tag)) => number_of(node, tag),
        Some(BlockId::Hash(hash)) => node
            .block_by_hash(hash.block_hash)
            .map(|block| block.header.number),
    };
    match number {
        None => Err(Failure::new(-32001, "header not found")),
        Some(number) if number == node.height() => Ok(()),
        Some(_) => Err(Failure::new(
            -32000,
            "only the state of the latest block is kept",
        )),
    }
}

fn parse_call(node: &Node, params: Value) -> Result<Call, Failure> {
    let (request, block): (TransactionRequest, Option<BlockId>) = parse_optional(params)?;
    require_latest(node, block)?;
    Ok(Call {
        from: request.from.unwrap_or_default(),
        to: request.to.unwrap_or(TxKind::Create),
        input: request.input.into_input().unwrap_or_default(),
        value: request.value.unwrap_or_default(),
        gas: request.gas.unwrap_or(GAS_LIMIT).min(GAS_LIMIT),
    })
}

fn run(node: &Node, call: &Call, now: u64) -> Result<ExecutionResult, Failure> {
    let result = node
        .call(call, now)
        .map_err(|error| Failure::new(-32000, error.to_string()))?;
    match result {
        ExecutionResult::Success { .. } => Ok(result),
        ExecutionResult::Revert { output, .. } => Err(Failure {
            code: 3,
            message: "execution reverted".to_owned(),
            data: Some(output),
        }),
        ExecutionResult::Halt { reason, .. } => Err(Failure::new(-32000, format!("{reason:?}"))),
    }
}

fn call(node: &Node, params: Value, now: u64) -> Result<Value, Failure> {
    let call = parse_call(node, params)?;
    to_value(run(node, &call, now)?.into_output().unwrap_or_default())
}

/// The least gas limit with which the call succeeds, found by halving, as other nodes do: gas used is not enough where
/// gas is refunded or held back for inner calls.
fn estimate(node: &Node, params: Value, now: u64) -> Result<Value, Failure> {
    let mut call = parse_call(node, params)?;
    let limit = call.gas;
    let used = run(node, &call, now)?.tx_gas_used();
    call.gas = used;
    if run(node, &call, now).is_ok() {
        return to_value(U64::from(used));
    }
    let (mut too_little, mut enough) = (used, limit);
    while enough - too_little > 1 + enough / 100 {
        let middle = too_little + (enough - too_little) / 2;
        call.gas = middle;
        if run(node, &call, now).is_ok() {
            enough = middle;
        } else {
            too_little = middle;
        }
    }
    to_value(U64::from(enough))
}

fn wire_block(node: &Node, block: &Block, full: bool) -> wire::Block {
    let transactions = if full {
        let whole = block
            .transaction
            .and_then(|hash| wire_transaction(node, hash));
        BlockTransactions::Full(whole.into_iter().collect())
    } else {
        BlockTransactions::Hashes(block.transaction.into_iter().collect())
    };
    wire::Block {
        header: wire::Header {
            hash: block.hash,
            inner: block.header.clone(),
            total_difficulty: None,
            size: None,
        },
        uncles: Vec::new(),
        transactions,
        withdrawals: None,
    }
}

fn wire_transaction(node: &Node, hash: B256) -> Option<wire::Transaction> {
    let Some(mined) = node.mined(hash) else {
        let waiting = node.waiting(hash)?.clone();
        return Some(wire::Transaction::from_transaction(
            waiting,
            TransactionInfo::default(),
        ));
    };
    let info = TransactionInfo {
        hash: Some(hash),
        index: Some(0),
        block_hash: mined.receipt.block_hash,
        block_number: mined.receipt.block_number,
        base_fee: Some(BASE_FEE),
        ..TransactionInfo::default()
    };
    Some(wire::Transaction::from_transaction(
        mined.transaction.clone(),
        info,
    ))
}

fn fee_history(node: &Node, params: Value) -> Result<Value, Failure> {
    let (count, newest, percentiles): (U64, BlockNumberOrTag, Option<Vec<f64>>) = match params {
        Value::Array(mut list) => {
            list.resize(3, Value::Null);
            parse(Value::Array(list))?
        }
        _ => return Err(Failure::params("expected an array")),
    };
    let newest = number_of(node, newest).ok_or_else(|| Failure::new(-32001, "header not found"))?;
    let count = count.to::<u64>().clamp(1, 1024).min(newest + 1);
    let oldest = newest + 1 - count;
    let percentiles = percentiles.map_or(0, |wanted| wanted.len().min(100));
    let blocks = || (oldest..=newest).filter_map(|number| node.block(number));
    to_value(FeeHistory {
        base_fee_per_gas: blocks()
            .map(|_| u128::from(BASE_FEE))
            .chain([u128::from(BASE_FEE)])
            .collect(),
        gas_used_ratio: blocks()
            .map(|block| block.header.gas_used as f64 / GAS_LIMIT as f64)
            .collect(),
        oldest_block: oldest,
        reward: (percentiles > 0).then(|| {
            blocks()
                .map(|block| {
                    let tip = block
                        .transaction
                        .and_then(|hash| node.mined(hash))
                        .and_then(|mined| mined.transaction.effective_tip_per_gas(BASE_FEE));
                    vec![tip.unwrap_or(0); percentiles]
                })
                .collect()
        }),
        ..FeeHistory::default()
    })
}

fn logs(node: &Node, params: Value) -> Result<Value, Failure> {
    let (filter,): (Filter,) = parse(params)?;
    let numbers = match filter.block_option {
        wire::FilterBlockOption::AtBlockHash(hash) => {
            let block = node
                .block_by_hash(hash)
                .ok_or_else(|| Failure::new(-32001, "header not found"))?;
            block.header.number..=block.header.number
        }
        wire::FilterBlockOption::Range {
            from_block,
            to_block,
        } => {
            let number = |tag: Option<BlockNumberOrTag>| {
                let tag = tag.unwrap_or_default();
                tag.as_number()
                    .or_else(|| number_of(node, tag))
                    .unwrap_or(0)
            };
            number(from_block)..=number(to_block).min(node.height())
        }
    };
    if numbers.end().saturating_sub(*numbers.start()) >= MAX_RANGE {
        return Err(Failure::params(format!("at most {MAX_RANGE} blocks")));
    }
    let found: Vec<&wire::Log> = numbers
        .filter_map(|number| node.mined(node.block(number)?.transaction?))
        .flat_map(|mined| mined.receipt.logs())
        .filter(|log| filter.matches(&log.inner))
        .collect();
    to_value(found)
}
