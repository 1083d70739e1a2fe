//! What Schemathesis makes of our OpenAPI document, sent to a running provider: in and out of the schema, signed and not.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edge_chain::LocalKey;
use edge_http::client::IepClient;
use edge_http::server::ApiLimits;
use edge_ports::{Clock, Ledger, Signer};
use edge_provider::journal::{Recovered, journal_file};
use edge_types::{Amount, Asset, ChainAddress, Hash32};
use edge_wire::signing::{self, RequestToSign};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::world::{CHAIN, LeapingClock, start_with, world};

const VERSION: &str = "4.32.5";
/// Random requests to each operation, in each of the two ways; those at the edges of the schema are a hundred to each.
const EXAMPLES: &str = "6";

/// Schemathesis in a Python of its own, installed once.
async fn install() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("schemathesis-{VERSION}"));
    let done = folder.join("installed");
    if !done.exists() {
        let run = async |command: &mut Command| {
            let output = command.output().await;
            let output = output.unwrap_or_else(|error| {
                panic!("this test needs virtualenv (Debian: virtualenv): {error}")
            });
            let problem = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{problem}");
        };
        run(Command::new("virtualenv").arg("--quiet").arg(&folder)).await;
        let package = format!("schemathesis=={VERSION}");
        let mut pip = Command::new(folder.join("bin/python"));
        run(pip.args(["-m", "pip", "install", "--quiet", &package])).await;
        std::fs::write(&done, "").unwrap();
    }
    folder.join("bin/st")
}

/// Signs every request that passes as an honest client of this key does, whatever is in it.
struct Signing {
    provider: ChainAddress,
    address: SocketAddr,
    key: LocalKey,
    clock: Arc<LeapingClock>,
}

impl Signing {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let proxy = Arc::clone(&self);
            tokio::spawn(async move { proxy.pass(stream).await });
        }
    }

    /// One request and its answer; `None` if either ends early.
    async fn pass(&self, mut stream: TcpStream) -> Option<()> {
        let mut text = Vec::new();
        let end = loop {
            let end = text.windows(4).position(|octets| octets == b"\r\n\r\n");
            if let Some(end) = end {
                break end;
            }
            (stream.read_buf(&mut text).await.ok()? > 0).then_some(())?;
        };
        let head = String::from_utf8_lossy(&text[..end]).into_owned();
        let mut body = text.split_off(end + 4);
        let field = |line: &str| Some(line.split_once(':')?.0.to_ascii_lowercase());
        let (first, fields) = head.split_once("\r\n")?;
        let length = fields
            .lines()
            .find(|line| field(line).as_deref() == Some("content-length"));
        let length = length.and_then(|line| line.split_once(':')?.1.trim().parse().ok());
        while body.len() < length.unwrap_or(0) {
            (stream.read_buf(&mut body).await.ok()? > 0).then_some(())?;
        }
        let (method, target) = first.split_once(' ')?;
        let path = target.split([' ', '?']).next()?;
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).ok()?;
        let request = RequestToSign {
            method,
            path,
            body: &body,
            nonce: Hash32(nonce),
            expires: self.clock.utc().plus_seconds(30),
            provider: self.provider,
            chain: CHAIN,
        };
        let signature = self.key.sign_digest(signing::request_digest(&request));
        let ours = [
            signing::SIGNATURE_HEADER,
            signing::NONCE_HEADER,
            signing::EXPIRES_HEADER,
            "connection",
        ]
        .map(str::to_ascii_lowercase);
        let kept = fields
            .lines()
            .filter(|line| field(line).is_none_or(|name| !ours.contains(&name)));
        let kept: String = kept.map(|line| format!("{line}\r\n")).collect();
        let head = format!(
            "{first}\r\n{kept}{}: {signature}\r\n{}: {}\r\n{}: {}\r\nconnection: close\r\n\r\n",
            ours[0], ours[1], request.nonce, ours[2], request.expires.0
        );
        let mut provider = TcpStream::connect(self.address).await.ok()?;
        provider.write_all(head.as_bytes()).await.ok()?;
        provider.write_all(&body).await.ok()?;
        tokio::io::copy(&mut provider, &mut stream).await.ok()?;
        stream.shutdown().await.ok()
    }
}

/// Runs it against an address; what it says if it found something.
async fn fuzz(
    program: &Path,
    folder: &Path,
    address: SocketAddr,
    phases: &str,
) -> Result<String, String> {
    let output = Command::new(program)
        .current_dir(folder)
        .args(["run", &format!("http://{address}/exec/v1/openapi.json")])
        .args(["--phases", phases])
        .args([
            "--checks",
            "not_a_server_error,content_type_conformance,response_schema_conformance",
        ])
        .args(["--max-examples", EXAMPLES, "--generation-deterministic"])
        .arg("--no-shrink")
        .args([
            "--suppress-health-check",
            "all",
            "--no-color",
            "--continue-on-failure",
        ])
        .output()
        .await
        .unwrap();
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(said)
    }
}

/// The whole API, with requests that are signed by nobody, and with the same signed by a stranger who has no money: answers
/// keep to the document, none is an accident, and nothing changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_schemathesis_finds_no_accident_and_changes_nothing() {
    let program = install().await;
    let mut world = world("").await;
    world.agent.abort();
    let _ = (&mut world.agent).await;
    // Or else it would be answered that it asks for too much.
    let limits = ApiLimits {
        connections_per_source: 256,
        requests_per_second: 100_000,
        ..ApiLimits::default()
    };
    (world.agent, _, world.address) = start_with(&world.config, world.ports.clone(), limits).await;
    let proxy = Arc::new(Signing {
        provider: world.provider,
        address: world.address,
        key: LocalKey::generate().unwrap(),
        clock: world.clock.clone(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let signed = listener.local_addr().unwrap();
    tokio::spawn(proxy.serve(listener));
    let before = world.ledger.balance(world.provider).await.unwrap();

    let (plain, signed) = tokio::join!(
        fuzz(&program, world.data.path(), world.address, "fuzzing"),
        fuzz(&program, world.data.path(), signed, "coverage")
    );
    for said in [plain, signed] {
        let said = said.unwrap_or_else(|said| panic!("{said}"));
        assert!(said.contains("generated"), "it did nothing: {said}");
    }

    let state = world.data.path().join("provider");
    let recovered = Recovered::peek(&journal_file(&state)).unwrap();
    assert_eq!(recovered.agreements, []);
    assert!(recovered.deployments.is_empty());
    let totals = world.ledger.totals(Asset::Native).await.unwrap();
    assert_eq!(totals.deposited, Amount::wei(0));
    let after = world.ledger.balance(world.provider).await.unwrap();
    assert_eq!(after, before, "no transaction");
    let client: IepClient = world.client();
    let offers = client.hello(&world.preferences(60)).await.unwrap();
    assert_eq!(offers.len(), 1, "it still offers");
}
