//! The development chain as a stranger meets it: by raw JSON-RPC, and on the disk.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program with a module of its own"
)]

mod support;

use std::fs::OpenOptions;
use std::io::Write;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope, TxLegacy};
use alloy::eips::eip2718::Encodable2718;
use alloy::network::TxSignerSync;
use alloy::primitives::{Address, Signature, TxKind, U256, hex};
use alloy::signers::local::PrivateKeySigner;
use edge_chain::dev::{DevChain, DevChainError, DevConfig};
use edge_ports::Signer;
use edge_types::{ChainAddress, ChainId};
use serde_json::{Value, json};
use support::{CHAIN, ETHER, Served, config, key, wall_clock};
use tokio::runtime::Runtime;

fn signer(number: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&[number; 32].into()).unwrap()
}

fn transfer(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN.0,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 0,
        to: TxKind::Call(Address::new([0x99; 20])),
        value: U256::from(7),
        ..TxEip1559::default()
    }
}

fn signed(mut transaction: TxEip1559, by: u8) -> Vec<u8> {
    let signature = signer(by).sign_transaction_sync(&mut transaction).unwrap();
    TxEnvelope::from(transaction.into_signed(signature)).encoded_2718()
}

/// A blocking JSON-RPC client.
struct Node {
    served: Served,
    runtime: Runtime,
    http: reqwest::Client,
}

impl Node {
    fn start(config: &DevConfig) -> Self {
        Self {
            served: Served::start(config),
            runtime: Runtime::new().unwrap(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    fn post(&self, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let request = self.http.post(self.served.url()).body(body);
        self.runtime.block_on(async {
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            let text = response.text().await.unwrap();
            (status, serde_json::from_str(&text).unwrap_or_default())
        })
    }

    fn ask(&self, method: &str, params: &Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.post(body.to_string()).1
    }

    fn send(&self, raw: &[u8]) -> Result<Value, String> {
        let mut answer = self.ask(
            "eth_sendRawTransaction",
            &json!([hex::encode_prefixed(raw)]),
        );
        match answer["error"]["message"].as_str() {
            Some(message) => Err(message.to_owned()),
            None => Ok(answer["result"].take()),
        }
    }

    fn balance(&self, account: ChainAddress) -> U256 {
        let answer = self.ask("eth_getBalance", &json!([account.to_string(), "latest"]));
        answer["result"].as_str().unwrap().parse().unwrap()
    }
}

#[test]
fn forged_replayed_and_wrong_chain_transactions_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&config(dir.path(), &[&key(1)]));
    let check = |raw: &[u8], expected: &str| {
        let refused = node.send(raw).unwrap_err();
        assert!(refused.contains(expected), "{refused:?}, not {expected:?}");
    };

    let first = signed(transfer(0), 1);
    node.send(&first).unwrap();
    check(&first, "already known");
    let again = TxEip1559 {
        value: U256::from(8),
        ..transfer(0)
    };
    check(&signed(again, 1), "nonce too low");

    let elsewhere = TxEip1559 {
        chain_id: 1,
        ..transfer(1)
    };
    check(&signed(elsewhere, 1), "invalid chain id");
    let mut unprotected = TxLegacy {
        chain_id: None,
        nonce: 1,
        gas_price: 2_000_000_000,
        gas_limit: 21_000,
        to: TxKind::Call(Address::ZERO),
        ..TxLegacy::default()
    };
    let signature = signer(1).sign_transaction_sync(&mut unprotected).unwrap();
    let unprotected = TxEnvelope::from(unprotected.into_signed(signature)).encoded_2718();
    check(&unprotected, "invalid chain id");

    // A changed transaction is signed by somebody else, who has nothing.
    let honest = transfer(1);
    let signature = signer(1)
        .sign_transaction_sync(&mut honest.clone())
        .unwrap();
    let changed = TxEip1559 {
        value: U256::from(ETHER),
        ..honest.clone()
    };
    check(
        &TxEnvelope::from(changed.into_signed(signature)).encoded_2718(),
        "insufficient funds",
    );
    let order: U256 = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
        .parse()
        .unwrap();
    let twin = Signature::new(signature.r(), order - signature.s(), !signature.v());
    check(
        &TxEnvelope::from(honest.into_signed(twin)).encoded_2718(),
        "invalid sender",
    );

    let poor = TxEip1559 {
        value: U256::from(100 * ETHER),
        ..transfer(1)
    };
    check(&signed(poor, 1), "insufficient funds");
    let cheap = TxEip1559 {
        max_fee_per_gas: 1,
        ..transfer(1)
    };
    check(&signed(cheap, 1), "less than block base fee");
    let starved = TxEip1559 {
        gas_limit: 20_000,
        ..transfer(1)
    };
    check(&signed(starved, 1), "gas");
    let endless = TxEip1559 {
        gas_limit: 31_000_000,
        ..transfer(1)
    };
    check(&signed(endless, 1), "gas");
    check(&signed(transfer(66), 1), "nonce too high");
    let mut trailing = signed(transfer(1), 1);
    trailing.push(0);
    check(&trailing, "could not be decoded");
    for garbage in [&b""[..], b"\x02", b"\x03\xc0", &[0xf8; 64]] {
        check(garbage, "could not be decoded");
    }
    assert_eq!(node.balance(ChainAddress([0x99; 20])), U256::from(7));
}

#[test]
fn transactions_wait_for_the_nonce_before_them() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&config(dir.path(), &[&key(1)]));
    let account = json!(key(1).address().to_string());
    let count = |block: &str| {
        node.ask("eth_getTransactionCount", &json!([account, block]))["result"].clone()
    };

    let later = node.send(&signed(transfer(2), 1)).unwrap();
    node.send(&signed(transfer(1), 1)).unwrap();
    assert_eq!(
        node.ask("eth_getTransactionReceipt", &json!([later]))["result"],
        Value::Null
    );
    assert_eq!(
        (count("latest"), count("pending")),
        (json!("0x0"), json!("0x0"))
    );
    let replacement = TxEip1559 {
        value: U256::from(8),
        ..transfer(2)
    };
    let refused = node.send(&signed(replacement, 1)).unwrap_err();
    assert_eq!(refused, "replacement transaction underpriced");

    node.send(&signed(transfer(0), 1)).unwrap();
    assert_eq!(
        (count("latest"), count("pending")),
        (json!("0x3"), json!("0x3"))
    );
    let receipt = node.ask("eth_getTransactionReceipt", &json!([later]));
    assert_eq!(receipt["result"]["status"], "0x1");
    assert_eq!(node.balance(ChainAddress([0x99; 20])), U256::from(21));
}

#[test]
fn malformed_requests_get_errors_and_never_more() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&config(dir.path(), &[]));
    let code = |body: &str| node.post(body.to_owned()).1["error"]["code"].clone();
    assert_eq!(code("{"), -32700);
    assert_eq!(code("[]"), -32600);
    assert_eq!(code("7"), -32600);
    assert_eq!(
        code(r#"{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}"#),
        -32600
    );
    assert_eq!(
        code(r#"{"jsonrpc":"2.0","id":1,"method":"eth_sign"}"#),
        -32601
    );
    for (method, params) in [
        ("eth_getBalance", "[]"),
        ("eth_getBalance", r#"["0x12","latest"]"#),
        ("eth_call", "{}"),
        ("eth_feeHistory", r#"["x"]"#),
        ("eth_getLogs", "[7]"),
        ("eth_getBlockByNumber", r#"["latest"]"#),
        ("eth_sendRawTransaction", r#"["0xzz"]"#),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        assert_eq!(code(&body), -32602, "{body}");
    }
    let many = format!("[{}7]", "7,".repeat(100));
    assert_eq!(code(&many), -32600);
    assert_eq!(node.post("[".repeat(100_000)).1["error"]["code"], -32700);
    assert_eq!(node.post(vec![b' '; 600 * 1024]).0, 413);
    // A notification has no answer; a batch is answered in order, errors included.
    assert_eq!(
        node.post(r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#).0,
        204
    );
    let batch = json!([
        { "jsonrpc": "2.0", "id": "a", "method": "eth_chainId" },
        { "jsonrpc": "2.0", "id": 2, "method": "nothing" },
    ]);
    let (_, answers) = node.post(batch.to_string());
    assert_eq!(
        answers[0],
        json!({ "jsonrpc": "2.0", "id": "a", "result": "0x539" })
    );
    assert_eq!(answers[1]["error"]["code"], -32601);
}

#[test]
fn the_rest_of_what_clients_ask_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&config(dir.path(), &[&key(1)]));
    let hash = node.send(&signed(transfer(0), 1)).unwrap();
    let result = |method: &str, params: Value| {
        let mut answer = node.ask(method, &params);
        assert_eq!(answer["error"], Value::Null, "{method}: {answer}");
        answer["result"].take()
    };
    assert_eq!(result("net_version", json!([])), "1337");
    assert_eq!(result("eth_syncing", json!([])), false);
    assert_eq!(result("eth_gasPrice", json!([])), "0x3b9aca01");
    let call = json!({ "from": key(1).address().to_string(), "to": key(2).address().to_string(), "value": "0x1" });
    assert_eq!(result("eth_estimateGas", json!([call])), "0x5208");
    let too_much = json!({ "from": key(3).address().to_string(), "to": key(2).address().to_string(), "value": "0x1" });
    assert_ne!(
        node.ask("eth_call", &json!([too_much, "latest"]))["error"],
        Value::Null
    );
    let transaction = result("eth_getTransactionByHash", json!([hash]));
    let block = result(
        "eth_getBlockByHash",
        json!([transaction["blockHash"], true]),
    );
    assert_eq!(block["transactions"][0], transaction);
    assert_eq!(block["gasUsed"], "0x5208");
    let history = result("eth_feeHistory", json!(["0x2", "latest", [50.0]]));
    assert_eq!(
        history["baseFeePerGas"].as_array().unwrap().len(),
        history["gasUsedRatio"].as_array().unwrap().len() + 1
    );
    assert_eq!(
        result("eth_getLogs", json!([{ "fromBlock": "0x0" }])),
        json!([])
    );
    let genesis = json!([key(1).address().to_string(), "0x0"]);
    assert_ne!(
        node.ask("eth_getBalance", &genesis)["error"],
        Value::Null,
        "old state is not kept"
    );
}

#[test]
fn time_never_goes_back_and_passes_without_transactions() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &[&key(1)]);
    drop(DevChain::open(&config).unwrap());
    // The machine's clock was an hour ahead when the chain was made.
    let path = dir.path().join("genesis.json");
    let mut genesis: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let ahead = wall_clock() + 3_600;
    genesis["timestamp"] = json!(ahead);
    std::fs::write(&path, genesis.to_string()).unwrap();
    let node = Node::start(&config);
    node.send(&signed(transfer(0), 1)).unwrap();
    let block = node.ask("eth_getBlockByNumber", &json!(["latest", false]));
    let time = |block: &Value| {
        let text = block["result"]["timestamp"].as_str().unwrap();
        u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
    };
    assert!((ahead..ahead + 60).contains(&time(&block)), "{block}");
    let put = node.ask("evm_increaseTime", &json!(["0x15180"]));
    assert!(put["error"].is_null(), "{put}");
    let block = node.ask("eth_getBlockByNumber", &json!(["latest", false]));
    let later = ahead + 86_400;
    assert!((later..later + 60).contains(&time(&block)), "{block}");
    drop(node);
    let node = Node::start(&config);
    let block = node.ask("eth_getBlockByNumber", &json!(["latest", false]));
    assert!((later..later + 60).contains(&time(&block)), "{block}");
    let put = node.ask("evm_increaseTime", &json!(["0xffffffffffffffff"]));
    assert!(!put["error"].is_null(), "{put}");
    drop(node);

    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&support::config(dir.path(), &[]));
    let height = || node.ask("eth_blockNumber", &json!([]))["result"].clone();
    let before = height();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while height() == before {
        assert!(std::time::Instant::now() < deadline, "no block in 5 s");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_half_written_block_is_cut_off_and_a_changed_one_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &[&key(1)]);
    let node = Node::start(&config);
    node.send(&signed(transfer(0), 1)).unwrap();
    node.send(&signed(transfer(1), 1)).unwrap();
    drop(node);
    let path = dir.path().join("blocks.jsonl");
    let whole = std::fs::read(&path).unwrap();
    let height = DevChain::open(&config).unwrap().height();

    // The power fails in the middle of the next line.
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&whole[..whole.len() / 3]).unwrap();
    drop(file);
    let cut = whole[..whole.len() / 3]
        .iter()
        .rposition(|byte| *byte == b'\n');
    assert_eq!(cut, None, "the first third is less than a line");
    assert_eq!(DevChain::open(&config).unwrap().height(), height);
    assert_eq!(std::fs::read(&path).unwrap(), whole);

    let mut changed = whole.clone();
    let digit = whole.windows(4).position(|part| part == b"0x02").unwrap() + 60;
    changed[digit] = if changed[digit] == b'1' { b'2' } else { b'1' };
    std::fs::write(&path, changed).unwrap();
    assert!(matches!(
        DevChain::open(&config),
        Err(DevChainError::Replay { .. })
    ));
}

#[test]
fn a_directory_belongs_to_one_chain_and_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let first = config(dir.path(), &[&key(1)]);
    let open = DevChain::open(&first).unwrap();
    assert!(matches!(
        DevChain::open(&first),
        Err(DevChainError::InUse { .. })
    ));
    drop(open);
    let others = [
        (
            DevConfig {
                chain: ChainId(7),
                ..first.clone()
            },
            "chain id",
        ),
        (config(dir.path(), &[&key(2)]), "funding"),
        (
            DevConfig {
                deploy_escrow: false,
                ..first
            },
            "escrow",
        ),
    ];
    for (other, differs) in others {
        match DevChain::open(&other) {
            Err(DevChainError::OtherGenesis { parameter, .. }) => assert_eq!(parameter, differs),
            result => panic!("{result:?}"),
        }
    }
}
