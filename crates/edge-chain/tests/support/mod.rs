//! A development chain on loopback, and the means to make offers on it.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test program uses another part of this module"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use edge_chain::client::LedgerConfig;
use edge_chain::dev::{self, DevChain, DevConfig};
use edge_chain::{EthLedger, LocalKey};
use edge_ports::{Ledger, Signer};
use edge_types::{
    AgreementId, AgreementRecord, AgreementState, Amount, Asset, ChainAddress, ChainId,
    Confirmation, EscrowTotals, Guarantee, HardwareProfile, Hash32, IepId, Offer, OfferId, Receipt,
    Settlement, Signature, SlaTerms, Slot, UtcTime,
};
use edge_wire::signing;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub const CHAIN: ChainId = ChainId(1337);
pub const ETHER: u128 = 1_000_000_000_000_000_000;

/// A key that is the same in every run.
pub fn key(number: u8) -> LocalKey {
    LocalKey::from_bytes([number; 32]).unwrap()
}

pub fn config(dir: &Path, funded: &[&LocalKey]) -> DevConfig {
    DevConfig {
        chain: CHAIN,
        data: dir.to_owned(),
        fund: funded
            .iter()
            .map(|key| (key.address(), 10 * ETHER))
            .collect::<BTreeMap<_, _>>(),
        deploy_escrow: true,
    }
}

/// A served chain; dropping it is like killing the process.
pub struct Served {
    pub address: SocketAddr,
    _runtime: Runtime,
}

impl Served {
    pub fn start(config: &DevConfig) -> Self {
        let chain = DevChain::open(config).unwrap();
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(dev::serve(chain, listener));
        Self {
            address,
            _runtime: runtime,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn ledger_config(&self) -> LedgerConfig {
        LedgerConfig::dev(self.url(), CHAIN, dev::dev_escrow_address())
    }

    pub fn ledger(&self, key: &LocalKey) -> EthLedger {
        EthLedger::new(self.ledger_config(), key.clone()).unwrap()
    }
}

pub fn wall_clock() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// An offer of the next 100 seconds at 1000 wei each, signed by `provider` for the escrow of [`CHAIN`].
pub fn offer(provider: &LocalKey, nonce: u8) -> Offer {
    let now = wall_clock();
    let unsigned = Offer {
        id: OfferId([0; 32]),
        provider: provider.address(),
        buyer: None,
        site: IepId {
            host: "site1.isp.example".parse().unwrap(),
            port: 8080,
        },
        slot: Slot {
            start: UtcTime(now),
            end: UtcTime(now + 100),
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
            round_trip_ms: 0,
        },
        conditions: edge_types::SiteConditions::default(),
        guarantee: Guarantee {
            answer_seconds: 60,
            ..Guarantee::default()
        },
        settlement: Settlement::Escrow {
            chain: CHAIN,
            contract: dev::dev_escrow_address(),
        },
        expires: UtcTime(now + 300),
        nonce: Hash32([nonce; 32]),
        signature: Signature([0; 65]),
    };
    resign(unsigned, provider)
}

/// The same terms, signed by `signer`.
pub fn resign(offer: Offer, signer: &LocalKey) -> Offer {
    signing::sign_offer(offer, |digest| signer.sign_digest(digest))
}

pub fn receipt(
    agreement: AgreementId,
    due: u128,
    buyer: &LocalKey,
    contract: ChainAddress,
) -> Receipt {
    let mut receipt = Receipt {
        agreement,
        due: Amount::wei(due),
        signature: Signature([0; 65]),
    };
    receipt.signature = buyer.sign_digest(signing::receipt_digest(&receipt, CHAIN, contract));
    receipt
}

/// The provider's word that `offer` is the buyer's for the next minute.
pub fn confirmation(offer: &Offer, buyer: &LocalKey, provider: &LocalKey) -> Confirmation {
    let until = UtcTime(wall_clock() + 60);
    let digest = signing::confirmation_digest(offer, buyer.address(), until);
    Confirmation {
        until,
        signature: provider.sign_digest(digest),
    }
}

/// The happy path between two accounts on an escrow that nobody else has used.
pub async fn agree_settle_and_withdraw(
    (buyer, buyer_key): (&EthLedger, &LocalKey),
    (provider, provider_key): (&EthLedger, &LocalKey),
) {
    let contract = buyer.contract();
    let mut offer = offer(provider_key, 1);
    offer.settlement = Settlement::Escrow {
        chain: CHAIN,
        contract,
    };
    offer.buyer = Some(buyer.account());
    offer.guarantee.stake = 4_000;
    let offer = resign(offer, provider_key);
    let none = Amount::wei(0);

    buyer.verify_contract().await.unwrap();
    provider.stake(Amount::wei(5_000)).await.unwrap();
    let word = confirmation(&offer, buyer_key, provider_key);
    let id = buyer.propose(&offer, Some(&word)).await.unwrap();
    assert_eq!(id, AgreementId(offer.id.0));
    let confirmed = AgreementRecord {
        id,
        buyer: buyer.account(),
        provider: provider.account(),
        slot: offer.slot,
        site_hash: signing::site_hash(&offer.site),
        price_per_second: offer.price_per_second,
        deposit: Amount::wei(100_000),
        state: AgreementState::Confirmed,
        deadline: None,
        ends_at: offer.slot.end,
        claim: None,
        released: none,
        refunded: none,
        burned: none,
    };
    let seen = provider.agreement(&offer).await.unwrap();
    assert_eq!(seen, Some(confirmed.clone()));
    assert_eq!(buyer.balance(contract).await.unwrap(), Amount::wei(105_000));
    let staked = provider.escrow_account(provider.account(), Asset::Native);
    assert_eq!(staked.await.unwrap().locked_stake, Amount::wei(4_000));

    let signed = receipt(id, 60_000, buyer_key, contract);
    provider.settle(&offer, signed).await.unwrap();
    let settled = AgreementRecord {
        state: AgreementState::Settled,
        released: Amount::wei(59_400),
        refunded: Amount::wei(40_000),
        burned: Amount::wei(600),
        ..confirmed
    };
    assert_eq!(buyer.agreement(&offer).await.unwrap(), Some(settled));
    provider.unstake(Amount::wei(5_000)).await.unwrap();
    let totals = EscrowTotals {
        deposited: Amount::wei(105_000),
        released: Amount::wei(59_400),
        refunded: Amount::wei(45_000),
        burned: Amount::wei(600),
        held: none,
    };
    assert_eq!(buyer.totals(Asset::Native).await.unwrap(), totals);

    let withdrawn = provider.withdraw(Asset::Native).await.unwrap();
    assert_eq!(withdrawn, Amount::wei(64_400));
    assert_eq!(provider.withdraw(Asset::Native).await.unwrap(), none);
    let withdrawn = buyer.withdraw(Asset::Native).await.unwrap();
    assert_eq!(withdrawn, Amount::wei(40_000));
    assert_eq!(
        buyer.balance(contract).await.unwrap(),
        Amount::wei(600),
        "what is burned stays for good"
    );
    let unknown = Offer {
        id: OfferId([9; 32]),
        ..offer
    };
    assert_eq!(buyer.agreement(&unknown).await.unwrap(), None);
}
