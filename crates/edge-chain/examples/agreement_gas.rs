//! Prints what an agreement costs in gas on the development chain, as JSON: parties that are here for the first time,
//! the same again, in a token, and on an escrow that nobody has used.

use std::collections::BTreeMap;
use std::error::Error;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::network::TxSignerSync;
use alloy::primitives::{Address, Bytes, TxKind, U256, hex};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use edge_chain::client::LedgerConfig;
use edge_chain::dev::{self, DevChain, DevConfig};
use edge_chain::{EthLedger, LocalKey};
use edge_ports::{Ledger, Signer};
use edge_types::{
    Amount, Asset, ChainAddress, ChainId, Confirmation, Guarantee, HardwareProfile, Hash32, IepId,
    Offer, OfferId, Receipt, Settlement, Signature, SlaTerms, Slot, UtcTime,
};
use edge_wire::signing;
use serde_json::{Value, json};

const CHAIN: ChainId = ChainId(1337);
const TOKEN: &str = include_str!("../../../contracts/test/Token.json");

alloy::sol! {
    function mint(address to, uint256 amount) external;
}

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A chain, and parties on it.
struct World {
    url: String,
    http: reqwest::Client,
}

impl World {
    fn ledger(&self, contract: ChainAddress, key: &LocalKey) -> Outcome<EthLedger> {
        let config = LedgerConfig::dev(self.url.clone(), CHAIN, contract);
        Ok(EthLedger::new(config, key.clone())?)
    }

    async fn rpc(&self, method: &str, params: Value) -> Outcome<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let request = self.http.post(&self.url).body(body.to_string());
        let answer: Value = serde_json::from_str(&request.send().await?.text().await?)?;
        Ok(answer["result"].clone())
    }

    /// Gas of the latest transaction, which has a block of its own; blocks that only tell the time are skipped.
    async fn gas(&self) -> Outcome<u64> {
        let mut block = self
            .rpc("eth_getBlockByNumber", json!(["latest", false]))
            .await?;
        loop {
            let used = number(&block["gasUsed"])?;
            if used > 0 {
                return Ok(used);
            }
            let before = format!("0x{:x}", number(&block["number"])?.saturating_sub(1));
            block = self
                .rpc("eth_getBlockByNumber", json!([before, false]))
                .await?;
        }
    }

    async fn send(&self, key: [u8; 32], nonce: u64, to: TxKind, input: Bytes) -> Outcome<Address> {
        let signer = PrivateKeySigner::from_bytes(&key.into())?;
        let mut transaction = TxEip1559 {
            chain_id: CHAIN.0,
            nonce,
            gas_limit: 3_000_000,
            max_fee_per_gas: 2_000_000_000,
            to,
            input,
            ..TxEip1559::default()
        };
        let signature = signer.sign_transaction_sync(&mut transaction)?;
        let raw = TxEnvelope::from(transaction.into_signed(signature)).encoded_2718();
        let sent = self
            .rpc("eth_sendRawTransaction", json!([hex::encode_prefixed(raw)]))
            .await?;
        sent.as_str().ok_or("a transaction was refused")?;
        Ok(signer.address().create(nonce))
    }

    /// One agreement from payment to withdrawal, half of it due.
    async fn agree(
        &self,
        contract: ChainAddress,
        (buyer_key, provider_key): (&LocalKey, &LocalKey),
        asset: Asset,
        nonce: u8,
    ) -> Outcome<Value> {
        let buyer = self.ledger(contract, buyer_key)?;
        let provider = self.ledger(contract, provider_key)?;
        let now = provider.now().await?.0;
        let terms = Offer {
            id: OfferId([0; 32]),
            provider: provider.account(),
            buyer: Some(buyer.account()),
            site: IepId {
                host: "site1.isp.example".parse()?,
                port: 8080,
            },
            slot: Slot {
                start: UtcTime(now),
                end: UtcTime(now + 3_600),
            },
            hardware: HardwareProfile {
                milli_cpu: 500,
                memory_bytes: 64 << 20,
                pids: 32,
            },
            price_per_second: Amount {
                asset,
                units: 1_000_000_000_000,
            },
            sla: SlaTerms {
                text_hash: Hash32([5; 32]),
                availability_ppm: 990_000,
                receipt_interval_seconds: 30,
                notice_seconds: 10,
                round_trip_ms: 0,
            },
            conditions: edge_types::SiteConditions::default(),
            guarantee: Guarantee {
                stake: 1_000_000_000_000,
                arbiter: None,
                answer_seconds: 0,
            },
            settlement: Settlement::Escrow {
                chain: CHAIN,
                contract,
            },
            expires: UtcTime(now + 300),
            nonce: Hash32([nonce; 32]),
            signature: Signature([0; 65]),
        };
        let offer = signing::sign_offer(terms, |digest| provider_key.sign_digest(digest));
        let account = provider.escrow_account(provider.account(), asset).await?;
        let mut costs = json!({});
        if account.free_stake.units < offer.guarantee.stake {
            let units = offer.guarantee.stake;
            provider.stake(Amount { asset, units }).await?;
            costs["stake"] = self.gas().await?.into();
        }
        let until = UtcTime(now + 300);
        let word = signing::confirmation_digest(&offer, buyer.account(), until);
        let confirmation = Confirmation {
            until,
            signature: provider_key.sign_digest(word),
        };
        buyer.propose(&offer, Some(&confirmation)).await?;
        costs["propose"] = self.gas().await?.into();
        let mut receipt = Receipt {
            agreement: offer.id.into(),
            due: Amount {
                asset,
                units: 1_800_000_000_000_000,
            },
            signature: Signature([0; 65]),
        };
        receipt.signature =
            buyer_key.sign_digest(signing::receipt_digest(&receipt, CHAIN, contract));
        provider.settle(&offer, receipt).await?;
        costs["settle"] = self.gas().await?.into();
        provider.withdraw(asset).await?;
        costs["withdraw"] = self.gas().await?.into();
        Ok(costs)
    }
}

fn number(hexadecimal: &Value) -> Outcome<u64> {
    let text = hexadecimal.as_str().ok_or("a number is missing")?;
    Ok(u64::from_str_radix(text.trim_start_matches("0x"), 16)?)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Outcome<()> {
    let folder = std::env::temp_dir().join(format!("agreement-gas-{}", std::process::id()));
    let result = measure(&folder).await;
    std::fs::remove_dir_all(&folder)?;
    let line = result?.to_string();
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes())?;
    Ok(())
}

async fn measure(folder: &std::path::Path) -> Outcome<Value> {
    let keys = [1, 2, 3, 4, 5, 6, 7].map(|byte| LocalKey::from_bytes([byte; 32]));
    let keys = keys.into_iter().collect::<Result<Vec<_>, _>>()?;
    let fund: BTreeMap<_, _> = keys.iter().map(|key| (key.address(), 1 << 80)).collect();
    let chain = DevChain::open(&DevConfig {
        chain: CHAIN,
        data: folder.to_owned(),
        fund,
        deploy_escrow: true,
    })?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let world = World {
        url: format!("http://{}", listener.local_addr()?),
        http: reqwest::Client::builder().no_proxy().build()?,
    };
    tokio::spawn(dev::serve(chain, listener));
    let escrow = dev::dev_escrow_address();

    let native = Asset::Native;
    let unused = world.agree(escrow, (&keys[0], &keys[1]), native, 1).await?;
    let first = world.agree(escrow, (&keys[2], &keys[3]), native, 2).await?;
    let again = world.agree(escrow, (&keys[2], &keys[3]), native, 3).await?;

    let artifact: Value = serde_json::from_str(TOKEN)?;
    let code = hex::decode(artifact["creationBytecode"].as_str().ok_or("no bytecode")?)?;
    let token = world.send([7; 32], 0, TxKind::Create, code.into()).await?;
    for (nonce, key) in (1..).zip(&keys[2..6]) {
        let call = mintCall {
            to: Address::new(key.address().0),
            amount: U256::from(1_u128 << 80),
        };
        let input = call.abi_encode().into();
        world
            .send([7; 32], nonce, TxKind::Call(token), input)
            .await?;
    }
    let token = Asset::Token(ChainAddress(token.into_array()));
    world.agree(escrow, (&keys[2], &keys[3]), token, 4).await?;
    let in_token = world.agree(escrow, (&keys[4], &keys[5]), token, 5).await?;
    Ok(json!({ "first": first, "again": again, "token": in_token, "unused-escrow": unused }))
}
