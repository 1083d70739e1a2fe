//! A chain, a provider with one site, and a buyer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edge_chain::client::LedgerConfig;
use edge_chain::dev::{self, DevChain, DevConfig};
use edge_chain::{EthLedger, LocalKey};
use edge_http::client::{BuyerClient, ClientTimeouts, IepClient};
use edge_http::server::ApiLimits;
use edge_negotiation::{
    Action, Evidence, GreenListPolicy, KeyBinding, Negotiation, NegotiationState, Now, Pace,
};
use edge_ports::{
    BoxFuture, Clock, Ledger, RuntimeError, Signer, SiteRuntime, SystemClock, WorkloadId,
};
use edge_provider::{Listening, Provider, ProviderConfig, ProviderError, ProviderPorts};
use edge_types::{
    AgreementId, AgreementRecord, Amount, Asset, ChainAddress, ChainId, Generation,
    HardwareProfile, HealthCheck, IepId, ImageDigest, ImageReference, MonotonicTime, Offer,
    Preferences, Receipt, ResourceLimits, Signature, Slot, UtcTime, Workload, WorkloadState,
};
use edge_wire::message::Deployment;
use edge_wire::signing;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const CHAIN: ChainId = ChainId(1337);
pub(crate) const ETHER: u128 = 1_000_000_000_000_000_000;
pub(crate) const PRICE: u128 = 1_000_000_000;
pub(crate) const ORIGIN: &str = "http://240.0.0.1:80";
pub(crate) const NEED: HardwareProfile = HardwareProfile {
    milli_cpu: 500,
    memory_bytes: 64 << 20,
    pids: 32,
};

/// Runs nothing, and remembers what it was told.
#[derive(Debug, Default)]
pub(crate) struct PretendRuntime {
    states: Mutex<BTreeMap<WorkloadId, WorkloadState>>,
    told: Mutex<Vec<String>>,
}

impl PretendRuntime {
    fn set(&self, id: WorkloadId, state: WorkloadState, told: String) {
        self.states.lock().unwrap().insert(id, state);
        self.told.lock().unwrap().push(told);
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

impl SiteRuntime for PretendRuntime {
    fn start<'a>(
        &'a self,
        id: WorkloadId,
        workload: &'a Workload,
        address: SocketAddr,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            self.set(
                id,
                WorkloadState::Starting,
                format!("start {}", workload.generation),
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.set(id, WorkloadState::Running { address }, "running".to_owned());
            Ok(())
        })
    }

    fn drain<'a>(
        &'a self,
        id: WorkloadId,
        origin: &'a str,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            let address = "127.0.0.1:20000".parse().unwrap();
            self.set(
                id,
                WorkloadState::Draining { address },
                format!("drain to {origin}"),
            );
            Ok(())
        })
    }

    fn stop(&self, id: WorkloadId) -> BoxFuture<'_, Result<(), RuntimeError>> {
        Box::pin(async move {
            self.set(id, WorkloadState::Stopped, "stop".to_owned());
            Ok(())
        })
    }

    fn state(&self, id: WorkloadId) -> WorkloadState {
        let states = self.states.lock().unwrap();
        states.get(&id).cloned().unwrap_or(WorkloadState::Absent)
    }
}

/// The machine's clock, which can be put ahead.
#[derive(Debug)]
pub(crate) struct LeapingClock {
    clock: SystemClock,
    ahead: AtomicU64,
}

impl Clock for LeapingClock {
    fn monotonic(&self) -> MonotonicTime {
        let ahead = Duration::from_secs(self.ahead.load(Ordering::SeqCst));
        self.clock.monotonic().after(ahead)
    }

    fn utc(&self) -> UtcTime {
        let ahead = self.ahead.load(Ordering::SeqCst);
        self.clock.utc().plus_seconds(ahead)
    }
}

/// A chain, a provider with one site, and a buyer.
pub(crate) struct World {
    pub(crate) data: tempfile::TempDir,
    pub(crate) config: String,
    pub(crate) agent: tokio::task::JoinHandle<()>,
    pub(crate) ports: ProviderPorts,
    pub(crate) address: SocketAddr,
    pub(crate) site: IepId,
    pub(crate) provider: ChainAddress,
    /// Somebody else with money.
    pub(crate) provider_key: LocalKey,
    pub(crate) escrow: ChainAddress,
    pub(crate) runtime: Arc<PretendRuntime>,
    pub(crate) clock: Arc<LeapingClock>,
    pub(crate) rpc: SocketAddr,
    /// The buyer takes two of three good answers of the site for none.
    pub(crate) is_sceptical: AtomicBool,
    checks: AtomicU64,
    pub(crate) key: LocalKey,
    pub(crate) ledger: EthLedger,
    /// What is paid in.
    pub(crate) asset: Asset,
}

pub(crate) async fn world(site_settings: &str) -> World {
    world_of(
        "receipt_interval_seconds = 5\nnotice_seconds = 2",
        site_settings,
    )
    .await
}

/// With other promises.
pub(crate) async fn world_of(promises: &str, site_settings: &str) -> World {
    build(promises, site_settings, false).await
}

/// Where a token is paid in, of which both have as much as of ether.
pub(crate) async fn world_in_token(site_settings: &str) -> World {
    let promises = "receipt_interval_seconds = 5\nnotice_seconds = 2";
    build(promises, site_settings, true).await
}

async fn build(promises: &str, site_settings: &str, in_token: bool) -> World {
    let data = tempfile::tempdir().unwrap();
    let (key, provider_key) = (LocalKey::generate().unwrap(), LocalKey::generate().unwrap());
    let chain = DevChain::open(&DevConfig {
        chain: CHAIN,
        data: data.path().join("chain"),
        fund: [(key.address(), ETHER), (provider_key.address(), ETHER)].into(),
        deploy_escrow: true,
    })
    .unwrap();
    let escrow = dev::dev_escrow_address();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rpc = listener.local_addr().unwrap();
    let rpc_url = format!("http://{rpc}");
    tokio::spawn(dev::serve(chain, listener));
    let ledger = |key: &LocalKey| {
        EthLedger::new(
            LedgerConfig::dev(rpc_url.clone(), CHAIN, escrow),
            key.clone(),
        )
        .unwrap()
    };

    let asset = if in_token {
        let holders = [key.address(), provider_key.address()];
        Asset::Token(token(&ledger(&key), holders).await)
    } else {
        Asset::Native
    };
    let price = match asset {
        Asset::Native => format!("price_per_second_wei = \"{PRICE}\""),
        Asset::Token(token) => format!("asset = \"{token}\"\nprice_per_second = \"{PRICE}\""),
    };
    let config = format!(
        r#"
        key_file = "unused"
        state_directory = "{}"
        allow_addresses = ["240.0.0.0/4"]
        [ledger]
        rpc_url = "{rpc_url}"
        chain_id = {}
        contract = "{escrow}"
        poll_interval_ms = 50
        [[site]]
        host = "edge.isp.example"
        port = 8080
        listen = "127.0.0.1:0"
        service_address = "127.0.0.1"
        service_ports = [20000, 20001]
        milli_cpu = 1000
        memory_mib = 128
        pids = 64
        {price}
        {promises}
        {site_settings}
        "#,
        data.path().join("provider").display(),
        CHAIN.0
    );
    let runtime = Arc::new(PretendRuntime::default());
    let clock = Arc::new(LeapingClock {
        clock: SystemClock::start(),
        ahead: AtomicU64::new(0),
    });
    let provider_address = provider_key.address();
    let ports = ProviderPorts {
        ledger: Some(Arc::new(ledger(&provider_key))),
        signer: Arc::new(provider_key.clone()),
        runtime: runtime.clone(),
        set_image_token: Arc::new(|_, _| {}),
        clock: clock.clone(),
    };
    let (agent, site, address) = start_provider(&config, ports.clone()).await;
    World {
        data,
        config,
        agent,
        ports,
        address,
        site,
        provider: provider_address,
        provider_key,
        escrow,
        runtime,
        clock,
        rpc,
        is_sceptical: AtomicBool::new(false),
        checks: AtomicU64::new(0),
        ledger: ledger(&key),
        key,
        asset,
    }
}

/// Puts the token of the escrow's own tests on the chain.
async fn token(ledger: &EthLedger, holders: [ChainAddress; 2]) -> ChainAddress {
    let artifact = include_str!("../../../../contracts/test/Token.json");
    let artifact: serde_json::Value = serde_json::from_str(artifact).unwrap();
    let text = artifact["creationBytecode"].as_str().unwrap();
    let digits = (2..text.len()).step_by(2).map(|at| &text[at..at + 2]);
    let code = digits.map(|octet| u8::from_str_radix(octet, 16).unwrap());
    let token = ledger.deploy("deploying", code.collect()).await.unwrap();
    for holder in holders {
        // mint(address,uint256)
        let mut input = vec![0x40, 0xc1, 0x0f, 0x19];
        input.extend([0; 12]);
        input.extend(holder.0);
        input.extend([0; 16]);
        input.extend(ETHER.to_be_bytes());
        ledger.tell("minting", token, input).await.unwrap();
    }
    token
}

pub(crate) async fn start_provider(
    config: &str,
    ports: ProviderPorts,
) -> (tokio::task::JoinHandle<()>, IepId, SocketAddr) {
    start_with(config, ports, ApiLimits::default()).await
}

/// One that takes so much from one source.
pub(crate) async fn start_with(
    config: &str,
    ports: ProviderPorts,
    limits: ApiLimits,
) -> (tokio::task::JoinHandle<()>, IepId, SocketAddr) {
    let config = ProviderConfig::parse(config).unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let provider = loop {
        let listening = Listening::bind(config.clone()).await.unwrap();
        match Provider::new(listening, ports.clone()) {
            Ok(provider) => break provider.with_limits(limits),
            // What a killed agent had under way holds its journal for a moment.
            Err(ProviderError::Journal(_)) => {
                assert!(
                    tokio::time::Instant::now() < deadline,
                    "the journal stays locked"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    };
    let (site, address) = {
        let (site, address) = provider.addresses().next().unwrap();
        (site.clone(), address)
    };
    let agent = tokio::spawn(provider.serve(std::future::pending()));
    (agent, site, address)
}

impl World {
    /// The agent ends as if killed, with all that it ran, and another begins from what it wrote down.
    pub(crate) async fn restart_provider(&mut self) {
        self.agent.abort();
        let _ = (&mut self.agent).await;
        self.runtime.states.lock().unwrap().clear();
        // On another port: a connection of any other process may have taken the old one.
        (self.agent, _, self.address) = start_provider(&self.config, self.ports.clone()).await;
    }

    /// Puts everybody's time ahead, the chain's too.
    pub(crate) async fn leap(&self, seconds: u64) {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"evm_increaseTime","params":["{seconds:#x}"]}}"#
        );
        let request = format!(
            "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.rpc).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("result"), "{answer}");
        self.clock.ahead.fetch_add(seconds, Ordering::SeqCst);
    }

    /// The ledger's word, once it is what was waited for.
    pub(crate) async fn until(
        &self,
        offer: &Offer,
        holds: impl Fn(&AgreementRecord) -> bool,
    ) -> AgreementRecord {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let record = self.ledger.agreement(offer).await.unwrap().unwrap();
            if holds(&record) {
                return record;
            }
            assert!(tokio::time::Instant::now() < deadline, "{record:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            monotonic: self.clock.monotonic(),
            utc: self.clock.utc(),
        }
    }

    pub(crate) fn client(&self) -> IepClient {
        IepClient::new(self.address, self.site.clone(), ClientTimeouts::default())
    }

    pub(crate) fn buyer(&self, key: &LocalKey) -> BuyerClient {
        let (signer, clock) = (Arc::new(key.clone()), self.clock.clone());
        self.client().with_key(signer, clock, self.provider, CHAIN)
    }

    pub(crate) fn preferences(&self, seconds: u64) -> Preferences {
        let start = self.clock.utc().plus_seconds(1);
        Preferences {
            application: "shop".to_owned(),
            buyer: self.key.address(),
            slot: Slot {
                start,
                end: start.plus_seconds(seconds),
            },
            hardware: NEED,
            price_ceiling_per_second: Amount {
                asset: self.asset,
                units: PRICE,
            },
            expected_requests_per_second: 5,
            conditions: edge_types::WantedConditions::default(),
        }
    }

    pub(crate) fn negotiation(&self, seconds: u64) -> Negotiation {
        let preferences = self.preferences(seconds);
        Self::negotiation_by(self.policy(&preferences), preferences)
    }

    pub(crate) fn policy(&self, preferences: &Preferences) -> GreenListPolicy {
        GreenListPolicy {
            min_key_binding: KeyBinding::Dns,
            ..GreenListPolicy::new(
                preferences.slot,
                NEED,
                preferences.price_ceiling_per_second,
                Some((CHAIN, self.escrow)),
            )
        }
    }

    pub(crate) fn negotiation_by(policy: GreenListPolicy, preferences: Preferences) -> Negotiation {
        let pace = Pace {
            compare_interval: Duration::from_millis(500),
            health_interval: Duration::from_millis(200),
            ledger_interval: Duration::from_millis(200),
            ..Pace::default()
        };
        Negotiation::new(pace, policy, preferences)
    }

    pub(crate) fn receipt(&self, agreement: AgreementId, due: Amount) -> Receipt {
        let mut receipt = Receipt {
            agreement,
            due,
            signature: Signature([0; 65]),
        };
        let digest = signing::receipt_digest(&receipt, CHAIN, self.escrow);
        receipt.signature = self.key.sign_digest(digest);
        receipt
    }

    /// Runs a negotiation with production code on both sides until `done` says so.
    pub(crate) async fn drive(
        &self,
        negotiation: &mut Negotiation,
        done: fn(&NegotiationState) -> bool,
    ) {
        negotiation.start(self.now());
        let deadline = tokio::time::Instant::now() + Duration::from_secs(40);
        while !done(negotiation.state()) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "still {:?}",
                negotiation.state()
            );
            if *negotiation.state() == NegotiationState::Offered {
                negotiation.select(self.now());
            }
            match negotiation.poll_action(self.now()) {
                Some(action) => self.act(negotiation, action).await,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// The same for some time.
    pub(crate) async fn drive_for(&self, negotiation: &mut Negotiation, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            match negotiation.poll_action(self.now()) {
                Some(action) => self.act(negotiation, action).await,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    pub(crate) async fn act(&self, negotiation: &mut Negotiation, action: Action) {
        let buyer = self.buyer(&self.key);
        match action {
            Action::SendHello(preferences) => {
                let offers = self.client().hello(&preferences).await.unwrap();
                let judged = offers.into_iter().map(|offer| {
                    let evidence = Evidence {
                        signature_verified: signing::verify_offer(&offer).is_ok(),
                        key_binding: KeyBinding::Dns,
                        site: self.site.clone(),
                    };
                    (offer, evidence)
                });
                negotiation.handle_offers(judged.collect(), self.now());
            }
            Action::Reserve(offer) => {
                let held = buyer.reserve(&offer).await.unwrap();
                if let Some(confirmation) = &held.confirmation {
                    let ours = self.key.address();
                    signing::verify_confirmation(confirmation, &offer, ours).unwrap();
                }
                let until = held.expires;
                negotiation.handle_reserved(held.id, until, held.confirmation, self.now());
            }
            Action::Propose {
                offer,
                confirmation,
            } => {
                let (ledger, offer) = (&self.ledger, offer.offer());
                let id = ledger.propose(offer, confirmation.as_ref()).await.unwrap();
                negotiation.handle_proposed(id, self.now());
            }
            Action::ReadLedger(_) => {
                let offer = negotiation.offer().unwrap();
                let record = self.ledger.agreement(offer).await.unwrap();
                let chain_now = self.ledger.now().await.unwrap();
                negotiation.handle_ledger(record.as_ref(), chain_now, self.now());
            }
            Action::Acknowledge { offer, reservation } => {
                match buyer.acknowledge(&offer, reservation).await {
                    Ok(_) => negotiation.handle_acknowledged(self.now()),
                    Err(error) => {
                        let reason = error.reject_reason().unwrap().clone();
                        negotiation.handle_rejected(reason, self.now());
                    }
                }
            }
            Action::Deploy(id) => {
                buyer.deploy(id, &deployment(1)).await.unwrap();
                negotiation.handle_done(self.now());
            }
            Action::CheckHealth(id) => {
                let view = buyer.deployment(id).await.unwrap();
                let good = self.checks.fetch_add(1, Ordering::SeqCst).is_multiple_of(3)
                    || !self.is_sceptical.load(Ordering::SeqCst);
                let healthy = good && matches!(view.state, WorkloadState::Running { .. });
                negotiation.handle_health(healthy, self.now());
            }
            Action::SendReceipt(id, due) => {
                buyer.send_receipt(self.receipt(id, due)).await.unwrap();
                negotiation.handle_done(self.now());
            }
            Action::SettleWithReceipt(id, due) => {
                let receipt = Some(self.receipt(id, due));
                buyer.close(id, "end of lease", receipt).await.unwrap();
                negotiation.handle_done(self.now());
            }
            Action::Dispute(_) => {
                let offer = negotiation.offer().unwrap();
                match self.ledger.dispute(offer).await {
                    Ok(()) => negotiation.handle_done(self.now()),
                    Err(_) => negotiation.handle_failed(self.now()),
                }
            }
            Action::CloseOnLedger(_) => {
                let offer = negotiation.offer().unwrap();
                match self.ledger.close(offer).await {
                    Ok(()) => negotiation.handle_done(self.now()),
                    Err(_) => negotiation.handle_failed(self.now()),
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn deployment(generation: u64) -> Deployment {
    let workload = Workload {
        generation: Generation(generation),
        image: ImageReference {
            registry: "240.0.0.1:5000".parse().unwrap(),
            repository: "shop/edge".to_owned(),
            digest: ImageDigest([7; 32]),
        },
        command: Vec::new(),
        environment: vec![("PORT".to_owned(), "8080".to_owned())],
        service_port: 8080,
        egress: vec![(9000, "240.0.0.1:81".parse().unwrap())],
        limits: ResourceLimits {
            milli_cpu: 500,
            memory_bytes: 64 << 20,
            pids: 32,
        },
        health: HealthCheck {
            path: "/healthz".to_owned(),
            start_timeout: Duration::from_secs(5),
        },
    };
    Deployment::new(workload, ORIGIN.to_owned())
}
