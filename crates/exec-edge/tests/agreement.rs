//! `exec-edge agreement` and `exec-edge explain agreement` over a journal that the orchestrator's own part wrote.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use edge_chain::client::LedgerConfig;
use edge_chain::dev::{self, DevChain, DevConfig};
use edge_chain::{EthLedger, LocalKey};
use edge_http::entry_tls::Transport;
use edge_negotiation::{NegotiationFailure, NegotiationRecord, NegotiationState};
use edge_orchestrator::journal::{AgreementStore, Written};
use edge_ports::{Clock, Ledger, Signer, SystemClock};
use edge_types::{
    AgreementRecord, AgreementState, Amount, ChainAddress, ChainId, Confirmation, HardwareProfile,
    Hash32, Offer, OfferId, Settlement, Signature, SlaTerms, Slot, UtcTime,
};
use edge_wire::signing;

fn offer(number: u8) -> Offer {
    Offer {
        id: OfferId([number; 32]),
        provider: ChainAddress([0xaa; 20]),
        buyer: None,
        site: edge_types::IepId {
            host: "edge.isp.example".parse().unwrap(),
            port: 80,
        },
        slot: Slot {
            start: UtcTime(1_000),
            end: UtcTime(1_060),
        },
        hardware: HardwareProfile {
            milli_cpu: 500,
            memory_bytes: 1024,
            pids: 8,
        },
        price_per_second: Amount::wei(7),
        sla: SlaTerms {
            text_hash: Hash32([3; 32]),
            availability_ppm: 950_000,
            receipt_interval_seconds: 10,
            notice_seconds: 5,
            round_trip_ms: 0,
        },
        conditions: edge_types::SiteConditions::default(),
        guarantee: edge_types::Guarantee {
            stake: 0,
            arbiter: None,
            answer_seconds: 120,
        },
        settlement: Settlement::Contact("call us".to_owned()),
        expires: UtcTime(1_010),
        nonce: Hash32([4; 32]),
        signature: Signature([5; 65]),
    }
}

fn written(number: u8, state: NegotiationState, steps: &[(u64, &str)]) -> Written {
    written_of(offer(number), state, steps)
}

fn written_of(offer: Offer, state: NegotiationState, steps: &[(u64, &str)]) -> Written {
    let steps = steps
        .iter()
        .map(|(at, what)| (UtcTime(*at), (*what).to_owned()));
    Written {
        record: NegotiationRecord {
            state,
            offer,
            reservation: None,
            confirmation: None,
            was_paid: true,
            was_deployed: true,
            receipt_sent: false,
            stops_at: None,
            rejection: None,
            failure: None,
            served: Duration::from_secs(30),
            good_at: None,
            intervals: Vec::new(),
        },
        transport: Transport::Plain,
        entry_point: "192.0.2.1:80".parse().unwrap(),
        serving_at: Some("192.0.2.1:20000".parse().unwrap()),
        image_token: Some("secret".to_owned()),
        challenge: None,
        began: UtcTime(990),
        steps: steps.collect(),
    }
}

/// Exit code, and standard output and error together.
fn exec_edge(arguments: &[&str], state: Option<&Path>) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_exec-edge"));
    command.args(arguments);
    if let Some(state) = state {
        command.arg("--state").arg(state);
    }
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}

#[test]
fn agreements_are_listed_shown_and_explained_from_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let state = Some(folder.path());
    let (code, told) = exec_edge(&["agreement", "list"], state);
    assert_eq!(code, 64, "{told}");
    assert!(
        told.contains("agreements.jsonl") && told.contains("state_directory"),
        "{told}"
    );

    let (mut store, _) = AgreementStore::open(folder.path()).unwrap();
    let failed = NegotiationState::Failed(NegotiationFailure::NotFunded);
    store
        .write(&written(
            0x11,
            NegotiationState::Running,
            &[(990, "selected"), (1_001, "running")],
        ))
        .unwrap();
    store
        .write(&written(
            0x12,
            failed,
            &[(995, "failed: the ledger shows no payment")],
        ))
        .unwrap();
    // The orchestrator runs on while one asks.
    let (code, told) = exec_edge(&["agreement", "list"], state);
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains("running") && told.contains("no payment"),
        "{told}"
    );
    let (code, told) = exec_edge(&["agreement", "list", "--json"], state);
    let all: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, all.as_array().unwrap().len()), (0, 2));
    assert_eq!(all[0]["deposit"], "420");

    for words in [["agreement", "show"], ["explain", "agreement"]] {
        let (code, told) = exec_edge(&[words[0], words[1], "0x1111"], state);
        assert_eq!(code, 0, "{told}");
        for part in [
            "edge.isp.example:80",
            "1001",
            "running",
            "192.0.2.1:20000",
            "60 s",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("secret"), "{told}");
    }
    let (code, told) = exec_edge(&["agreement", "show", "1"], state);
    assert_eq!(code, 1, "two begin so: {told}");
}

#[test]
fn closing_and_stopping_ask_the_running_orchestrator() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let shown = socket.to_str().unwrap();
    let id = format!("0x{}", "11".repeat(32));
    let (code, told) = exec_edge(&["agreement", "stop", "--admin", shown, "--dry-run"], None);
    assert_eq!(code, 0, "{told}");
    let (code, told) = exec_edge(&["agreement", "stop", "--admin", shown], None);
    assert_eq!(code, 2, "nobody listens: {told}");

    let listener = UnixListener::bind(&socket).unwrap();
    let asked = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for status in ["200 OK", "404 Not Found"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 512];
            let read = stream.read(&mut head).unwrap();
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            asked.push(head.lines().next().unwrap().to_owned());
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 4\r\n\r\ntrue").unwrap();
        }
        asked
    });
    assert_eq!(
        exec_edge(&["agreement", "stop", "--admin", shown], None).0,
        0
    );
    let (code, told) = exec_edge(&["agreement", "close", &id, "--admin", shown], None);
    assert_eq!(code, 1, "{told}");
    assert_eq!(
        asked.join().unwrap(),
        [
            "POST /wind-down HTTP/1.1".to_owned(),
            format!("POST /agreements/{id}/close HTTP/1.1")
        ]
    );
}

/// A development chain, and an agreement of a thousand seconds on it.
struct OnChain {
    runtime: tokio::runtime::Runtime,
    rpc: std::net::SocketAddr,
    buyer: LocalKey,
    provider: LocalKey,
    arbiter: LocalKey,
    folder: tempfile::TempDir,
}

impl OnChain {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [buyer, provider, arbiter] = ["buyer", "provider", "arbiter"].map(|name| {
            let key = LocalKey::generate().unwrap();
            key.write_plain(&folder.path().join(name)).unwrap();
            key
        });
        let ether = 1_000_000_000_000_000_000;
        let chain = DevChain::open(&DevConfig {
            chain: ChainId(1337),
            data: folder.path().join("chain"),
            fund: [&buyer, &provider, &arbiter]
                .map(|key| (key.address(), ether))
                .into(),
            deploy_escrow: true,
        });
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listening = tokio::net::TcpListener::bind("127.0.0.1:0");
        let listener = runtime.block_on(listening).unwrap();
        let rpc = listener.local_addr().unwrap();
        runtime.spawn(dev::serve(chain.unwrap(), listener));
        Self {
            runtime,
            rpc,
            buyer,
            provider,
            arbiter,
            folder,
        }
    }

    fn ledger(&self, key: &LocalKey) -> EthLedger {
        let rpc = format!("http://{}", self.rpc);
        let config = LedgerConfig::dev(rpc, ChainId(1337), dev::dev_escrow_address());
        EthLedger::new(config, key.clone()).unwrap()
    }

    fn agree(&self, number: u8) -> Offer {
        self.agree_under(number, offer(number).guarantee)
    }

    fn agree_under(&self, number: u8, guarantee: edge_types::Guarantee) -> Offer {
        let now = SystemClock::start().utc();
        let offer = Offer {
            provider: self.provider.address(),
            slot: Slot {
                start: now,
                end: now.plus_seconds(1_000),
            },
            price_per_second: Amount::wei(1_000),
            settlement: Settlement::Escrow {
                chain: ChainId(1337),
                contract: dev::dev_escrow_address(),
            },
            expires: now.plus_seconds(300),
            guarantee,
            ..offer(number)
        };
        let offer = Offer {
            nonce: Hash32([number; 32]),
            ..offer
        };
        let offer = signing::sign_offer(offer, |digest| self.provider.sign_digest(digest));
        let until = now.plus_seconds(60);
        let digest = signing::confirmation_digest(&offer, self.buyer.address(), until);
        let word = Confirmation {
            until,
            signature: self.provider.sign_digest(digest),
        };
        let ledger = self.ledger(&self.buyer);
        let paid = self.runtime.block_on(ledger.propose(&offer, Some(&word)));
        paid.unwrap();
        let (mut store, _) = AgreementStore::open(&self.folder.path().join("state")).unwrap();
        let running = NegotiationState::Running;
        store
            .write(&written_of(offer.clone(), running, &[]))
            .unwrap();
        offer
    }

    fn record(&self, offer: &Offer) -> AgreementRecord {
        let ledger = self.ledger(&self.buyer);
        let record = self.runtime.block_on(ledger.agreement(offer));
        record.unwrap().unwrap()
    }

    fn leap(&self, seconds: u64) {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"evm_increaseTime","params":["{seconds:#x}"]}}"#
        );
        let mut stream = std::net::TcpStream::connect(self.rpc).unwrap();
        let length = body.len();
        write!(stream, "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("result"), "{answer}");
    }

    /// Exit code, and what was told, of a command by the party that has this key.
    fn by(&self, party: &str, arguments: &[&str]) -> (i32, String) {
        let (key, rpc) = (
            self.folder.path().join(party),
            format!("http://{}", self.rpc),
        );
        let state = self.folder.path().join("state");
        let whole = [
            &["agreement"],
            arguments,
            &["--rpc", &rpc, "--key", key.to_str().unwrap()],
        ];
        exec_edge(&whole.concat(), Some(&state))
    }
}

#[test]
fn hardware_is_taken_back_and_money_divided_by_two_signatures() {
    let chain = OnChain::start();
    let offer = chain.agree(1);
    let id = offer.id.to_string();
    let (code, told) = chain.by("buyer", &["reclaim", &id]);
    assert_eq!(code, 64, "{told}");
    let (code, told) = chain.by("provider", &["reclaim", &id, "--after", "4"]);
    assert_eq!(code, 64, "less than the notice: {told}");
    let (code, told) = chain.by("provider", &["reclaim", &id, "--dry-run"]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(chain.record(&offer).ends_at, offer.slot.end);
    let (code, told) = chain.by("provider", &["reclaim", &id]);
    assert_eq!(code, 0, "{told}");
    assert!(chain.record(&offer).ends_at < offer.slot.end);

    let (code, told) = chain.by("buyer", &["dispute", &id]);
    assert_eq!(code, 1, "nothing is claimed: {told}");
    let (code, told) = chain.by("provider", &["settle", &id, "--due", "40000", "--json"]);
    assert_eq!(code, 0, "{told}");
    let signed: serde_json::Value = serde_json::from_str(&told).unwrap();
    let signature = signed["signature"].as_str().unwrap();
    let settle = |due| {
        chain.by(
            "buyer",
            &["settle", &id, "--due", due, "--signature", signature],
        )
    };
    let (code, told) = settle("39999");
    assert_eq!(code, 64, "another sum: {told}");
    assert_eq!(chain.record(&offer).state, AgreementState::Confirmed);
    let (code, told) = settle("40000");
    assert_eq!(code, 0, "{told}");
    let record = chain.record(&offer);
    assert_eq!(
        (record.released, record.burned, record.refunded),
        (Amount::wei(39_600), Amount::wei(400), Amount::wei(960_000))
    );
    assert_eq!(settle("40000").0, 1, "it is over");
}

#[test]
fn a_claim_is_disputed_by_hand() {
    let chain = OnChain::start();
    let offer = chain.agree(2);
    chain.leap(1_001);
    let ledger = chain.ledger(&chain.provider);
    let claimed = ledger.claim(&offer, Amount::wei(900_000), None);
    chain.runtime.block_on(claimed).unwrap();
    let id = offer.id.to_string();
    let (code, told) = chain.by("buyer", &["dispute", &id, "--dry-run"]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(chain.record(&offer).state, AgreementState::Claimed);
    let (code, told) = chain.by("buyer", &["dispute", &id]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(chain.record(&offer).state, AgreementState::Disputed);
    let stranger = LocalKey::generate().unwrap();
    stranger
        .write_plain(&chain.folder.path().join("stranger"))
        .unwrap();
    let (code, told) = chain.by("stranger", &["settle", &id, "--due", "0"]);
    assert_eq!(code, 64, "{told}");
    assert!(told.contains("not a party"), "{told}");
}

#[test]
fn an_arbiter_rules_by_the_offer_alone() {
    let chain = OnChain::start();
    let provider = chain.ledger(&chain.provider);
    let stake = Amount::wei(500);
    chain.runtime.block_on(provider.stake(stake)).unwrap();
    let guarantee = edge_types::Guarantee {
        stake: stake.units,
        arbiter: Some(chain.arbiter.address()),
        answer_seconds: 0,
    };
    let offer = chain.agree_under(3, guarantee);
    let id = offer.id.to_string();
    let state = chain.folder.path().join("state");
    let (code, told) = exec_edge(&["agreement", "show", &id], Some(&state));
    assert_eq!(code, 0, "{told}");
    let named = format!("ruled by {}", chain.arbiter.address());
    assert!(told.contains("500 wei") && told.contains(&named), "{told}");

    let (code, text) = exec_edge(&["agreement", "offer", &id], Some(&state));
    assert_eq!(code, 0, "{text}");
    let file = chain.folder.path().join("offer.json");
    std::fs::write(&file, &text).unwrap();
    let rule = |party: &str, due: &str, more: &[&str]| {
        let key = chain.folder.path().join(party);
        let rpc = format!("http://{}", chain.rpc);
        let whole = [
            &["agreement", "rule", file.to_str().unwrap(), "--due", due],
            &["--rpc", &rpc, "--key", key.to_str().unwrap()] as &[&str],
            more,
        ];
        exec_edge(&whole.concat(), None)
    };
    let (code, told) = rule("arbiter", "100000", &[]);
    assert_eq!(code, 1, "nothing is disputed: {told}");
    chain.leap(1_001);
    let claimed = provider.claim(&offer, Amount::wei(900_000), None);
    chain.runtime.block_on(claimed).unwrap();
    assert_eq!(chain.by("buyer", &["dispute", &id]).0, 0);

    let (code, told) = rule("buyer", "0", &[]);
    assert_eq!(code, 64, "{told}");
    let (code, told) = rule("arbiter", "900001", &[]);
    assert_eq!(code, 64, "above the claim: {told}");
    let (code, told) = rule("arbiter", "100000", &["--slash", "501"]);
    assert_eq!(code, 64, "above the stake: {told}");
    let (code, told) = rule("arbiter", "100000", &["--slash", "200", "--dry-run"]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(chain.record(&offer).state, AgreementState::Disputed);
    let (code, told) = rule("arbiter", "100000", &["--slash", "200"]);
    assert_eq!(code, 0, "{told}");
    let record = chain.record(&offer);
    assert_eq!(record.state, AgreementState::Settled);
    assert_eq!(record.refunded, Amount::wei(900_000));
    let asset = edge_types::Asset::Native;
    let free = provider.free_stake(chain.provider.address(), asset);
    assert_eq!(chain.runtime.block_on(free).unwrap(), Amount::wei(300));

    let changed = text.replace("\"units\":\"1000\"", "\"units\":\"1001\"");
    assert_ne!(changed, text);
    std::fs::write(&file, changed).unwrap();
    let (code, told) = rule("arbiter", "0", &[]);
    assert_eq!(code, 64, "not what was signed: {told}");
}
