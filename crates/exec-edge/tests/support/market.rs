//! A market on this machine: a chain, a provider with several sites, and the orchestrator as its users start it, whose paths come from a
//! file. Replaced are the containers (listeners that answer health checks) and the traces.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use edge_chain::client::LedgerConfig;
use edge_chain::dev::{self, DevChain, DevConfig};
use edge_chain::{EthLedger, LocalKey};
use edge_orchestrator::status::StatusReport;
use edge_ports::{
    BoxFuture, Ledger as _, RuntimeError, Signer as _, SiteRuntime, SystemClock, WorkloadId,
};
use edge_provider::{Listening, Provider, ProviderConfig, ProviderPorts};
use edge_trace_files::{PathRecord, TraceDetails, write_json_line};
use edge_types::{
    ChainId, Hop, HopReply, IpNet, MonotonicTime, PathEnd, PathObservation, Rtt, Workload,
    WorkloadState,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;

use crate::program::BINARY;
use crate::zone_server::ZoneServer;

/// Sites, each in a city of its own.
pub(crate) const SITES: u8 = 4;

/// Client networks, by turns in the cities of the sites.
pub(crate) const CLIENTS: u8 = 12;

const CHAIN: ChainId = ChainId(1337);
const ETHER: u128 = 1_000_000_000_000_000_000;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// What workloads tell of their clients.
pub(crate) type Distances = Arc<Mutex<Vec<(IpNet, Rtt)>>>;

pub(crate) struct Market {
    // Ends before the rest.
    orchestrator: Child,
    pub(crate) folder: tempfile::TempDir,
    runtime: Runtime,
    front_end: SocketAddr,
    buyer: LocalKey,
    rpc: String,
    pub(crate) distances: Distances,
}

impl Drop for Market {
    fn drop(&mut self) {
        let _ = self.orchestrator.kill();
        let _ = self.orchestrator.wait();
    }
}

/// A client of the `number`th network.
pub(crate) fn client(number: u8) -> IpAddr {
    Ipv4Addr::new(127, 251, number, 7).into()
}

pub(crate) fn client_network(number: u8) -> IpNet {
    IpNet::new(client(number), 24).unwrap().trunc()
}

impl Market {
    /// Starts everything, and the orchestrator by `exec-edge` with these arguments before `--config` in this mode.
    pub(crate) fn start(arguments: &[&str], mode: &str) -> Self {
        Self::start_with(arguments, mode, "", 600)
    }

    /// The same with further lines of policy, in which `FOLDER` has tables of the sites' places: `countries`, where sites are
    /// by turns in FI and SE, and `origins`, where the `number`th site is in AS 64500 + `number`.
    pub(crate) fn start_with(arguments: &[&str], mode: &str, policy: &str, lease_s: u32) -> Self {
        Self::start_promising(arguments, mode, policy, lease_s, "")
    }

    /// The same with further lines of each site's settings.
    pub(crate) fn start_promising(
        arguments: &[&str],
        mode: &str,
        policy: &str,
        lease_s: u32,
        promises: &str,
    ) -> Self {
        static INSTANCES: AtomicU8 = AtomicU8::new(0);
        let instance = INSTANCES.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let (buyer, provider) = (LocalKey::generate().unwrap(), LocalKey::generate().unwrap());
        buyer.write_plain(&folder.path().join("buyer.key")).unwrap();
        let funds = [buyer.address(), provider.address()].map(|account| (account, 1_000 * ETHER));
        let chain = DevChain::open(&DevConfig {
            chain: CHAIN,
            data: folder.path().join("chain"),
            fund: funds.into(),
            deploy_escrow: true,
        })
        .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let rpc = listener.local_addr().unwrap().to_string();
        runtime.spawn(dev::serve(chain, listener));
        let distances = Distances::default();
        start_provider(
            &runtime,
            folder.path(),
            &rpc,
            provider.clone(),
            instance,
            &distances,
            promises,
        );
        let origin = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let origin_at = origin.local_addr().unwrap();
        runtime.spawn(answer_all(origin));
        let [front_end, registry] = [free_port(), free_port()];
        fs::write(folder.path().join("paths.jsonl"), paths(instance)).unwrap();
        let lines = |line: fn(u8, IpAddr) -> String| -> String {
            (0..SITES)
                .map(|site| line(site, site_address(instance, site)))
                .collect()
        };
        let countries = lines(|site, address| {
            let country = ["FI", "SE"][usize::from(site) % 2];
            format!("{address},{address},{country}\n")
        });
        fs::write(folder.path().join("countries"), countries).unwrap();
        let origins =
            lines(|site, address| format!("{address}/32 AS{}\n", 64_500 + u32::from(site)));
        fs::write(folder.path().join("origins"), origins).unwrap();
        let policy = policy.replace("FOLDER", &folder.path().to_string_lossy());
        let names = ZoneServer::start(&[("in-addr.arpa", "")]);
        let config = orchestrator_config(&Setting {
            folder: folder.path(),
            mode,
            front_end,
            registry,
            origin: origin_at,
            names: names.address,
            rpc: &rpc,
            provider: &provider,
            instance,
            policy: &policy,
            lease_s,
        });
        let file = folder.path().join("orchestrator.toml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(BINARY);
        command.args(arguments).arg("--config").arg(&file);
        let log = File::create(folder.path().join("log")).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        Self {
            orchestrator: command.spawn().unwrap(),
            folder,
            runtime,
            front_end,
            buyer,
            rpc,
            distances,
        }
    }

    /// The orchestrator's report once it is as wanted; clients of all networks ask meanwhile.
    pub(crate) fn await_report(
        &mut self,
        is_wanted: impl Fn(&StatusReport) -> bool,
    ) -> StatusReport {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for number in 0..CLIENTS {
                let _may_not_listen_yet = self.ask(number);
            }
            let report = self.report();
            if let Some(report) = &report
                && is_wanted(report)
            {
                return report.clone();
            }
            if let Some(status) = self.orchestrator.try_wait().unwrap() {
                panic!("the orchestrator ended with {status}: {}", self.log());
            }
            assert!(Instant::now() < deadline, "{report:#?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn report(&self) -> Option<StatusReport> {
        let mut stream = UnixStream::connect(self.folder.path().join("admin")).ok()?;
        stream
            .write_all(b"GET /status HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")
            .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// The status line that a client of the `number`th network gets, and where it is sent, if it is.
    pub(crate) fn ask(&self, number: u8) -> Option<(String, Option<String>)> {
        self.exchange(number, self.front_end, "GET / HTTP/1.1\r\n", "")
    }

    /// The site that a client of the `number`th network comes to, if it is sent to any. On the way to an entry point, where it is bounced,
    /// it takes so long.
    pub(crate) fn follow(&self, number: u8, wait: Duration) -> Option<SocketAddr> {
        let (mut at, mut path) = (self.front_end, "/".to_owned());
        for _ in 0..4 {
            let line = format!("GET {path} HTTP/1.1\r\n");
            let location = self.exchange(number, at, &line, "")?.1?;
            let (authority, rest) = location.strip_prefix("http://")?.split_once('/')?;
            at = authority.parse().unwrap_or(self.front_end);
            path = format!("/{rest}");
            if path.contains("/bounce/") {
                std::thread::sleep(wait);
            } else if at != self.front_end {
                return Some(at);
            }
        }
        None
    }

    /// A browser in the `number`th network reports that a request to a site failed; the status line of the answer.
    pub(crate) fn report_failure(&self, number: u8, site: SocketAddr) -> String {
        let body = format!(
            r#"[{{"type":"network-error","age":1,"url":"http://{site}/","body":{{"type":"tcp.timed_out"}}}}]"#
        );
        let head = format!(
            "POST /.exec/reports HTTP/1.1\r\ncontent-type: application/reports+json\r\ncontent-length: {}\r\n",
            body.len()
        );
        self.exchange(number, self.front_end, &head, &body)
            .unwrap()
            .0
    }

    /// The status line and `Location` of what `address` answers a client.
    fn exchange(
        &self,
        number: u8,
        address: SocketAddr,
        head: &str,
        body: &str,
    ) -> Option<(String, Option<String>)> {
        let port = self.front_end.port();
        let request = format!("{head}host: shop.example:{port}\r\nconnection: close\r\n\r\n{body}");
        let asked = async move {
            let socket = TcpSocket::new_v4().ok()?;
            socket.bind(SocketAddr::new(client(number), 0)).ok()?;
            let mut stream = socket.connect(address).await.ok()?;
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.ok()?;
            let location = answer
                .lines()
                .find_map(|line| line.strip_prefix("location: "));
            Some((
                answer.lines().next()?.to_owned(),
                location.map(str::to_owned),
            ))
        };
        self.runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(5), asked).await })
            .ok()?
    }

    /// What the buyer has on the chain, in wei.
    pub(crate) fn balance(&self) -> u128 {
        let ledger = ledger(&self.rpc, self.buyer.clone());
        let balance = self.runtime.block_on(ledger.balance(self.buyer.address()));
        balance.unwrap().units
    }

    /// What the buyer had at the beginning.
    pub(crate) const fn funds() -> u128 {
        1_000 * ETHER
    }

    /// Interrupts the orchestrator as Ctrl-C does, and waits for its end.
    pub(crate) fn interrupt(&mut self) {
        let pid = Pid::from_raw(self.orchestrator.id().try_into().unwrap());
        kill(pid, Signal::SIGINT).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.orchestrator.try_wait().unwrap() {
                assert!(status.success(), "{status}: {}", self.log());
                return;
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Not at the address that connections come from, so that none of them takes the port meanwhile.
fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    listener.local_addr().unwrap()
}

/// Of its own for each market of each run.
fn site_address(instance: u8, site: u8) -> IpAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high % 250, low, 10 + 10 * instance + site).into()
}

fn ledger(rpc: &str, key: LocalKey) -> EthLedger {
    let config = LedgerConfig {
        poll_interval: Duration::from_millis(20),
        ..LedgerConfig::dev(format!("http://{rpc}"), CHAIN, dev::dev_escrow_address())
    };
    EthLedger::new(config, key).unwrap()
}

async fn answer_all(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut request = [0; 2048];
            let _ = stream.read(&mut request).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer).await;
        });
    }
}

/// The cloud's gateway is 5 ms away, the router of each city some 40; sites are 3 ms behind it, and clients' routers 15 to 26. The paths
/// lead to neighbours of the clients, so that the clients' own connections, which stay on this machine, are no measure of them.
fn paths(instance: u8) -> String {
    let city = |number: u8| number % SITES;
    let mut lines = String::new();
    let mut add = |target: IpAddr, city: u8, last: Option<(IpAddr, u64)>, beyond: u64| {
        let reply = |address: IpAddr, ms| {
            Hop::Reply(HopReply::new(address, Rtt(Duration::from_millis(ms))))
        };
        let at_city = 40 + 3 * u64::from(city);
        let mut hops = vec![
            reply(Ipv4Addr::new(240, 0, 0, 1).into(), 5),
            reply(Ipv4Addr::new(240, 1, city, 1).into(), at_city),
        ];
        hops.extend(last.map(|(router, beyond)| reply(router, at_city + beyond)));
        hops.push(reply(target, at_city + beyond));
        let record = PathRecord {
            path: PathObservation {
                target,
                observed_at: MonotonicTime::ZERO,
                hops,
                further: Vec::new(),
                end: PathEnd::Reached,
                probes_sent: 3,
            },
            details: TraceDetails::default(),
        };
        lines += &write_json_line(&record);
        lines += "\n";
    };
    for site in 0..SITES {
        add(site_address(instance, site), site, None, 3);
    }
    for number in 0..CLIENTS {
        let router = Ipv4Addr::new(240, 2, number, 1).into();
        let beyond = 15 + u64::from(number);
        let neighbour = Ipv4Addr::new(127, 251, number, 9).into();
        add(neighbour, city(number), Some((router, beyond)), beyond + 1);
    }
    lines
}

fn start_provider(
    runtime: &Runtime,
    folder: &Path,
    rpc: &str,
    key: LocalKey,
    instance: u8,
    distances: &Distances,
    promises: &str,
) {
    let escrow = dev::dev_escrow_address();
    let mut text = format!(
        "key_file = \"unused\"\nstate_directory = {:?}\nallow_addresses = [\"127.0.0.0/8\"]\n\
         [ledger]\nrpc_url = \"http://{rpc}\"\nchain_id = {}\ncontract = \"{escrow}\"\npoll_interval_ms = 50\n",
        folder.join("provider"),
        CHAIN.0
    );
    for site in 0..SITES {
        let address = site_address(instance, site);
        text.push_str(&format!(
            "[[site]]\nhost = \"site{site}.isp.example\"\nport = 8080\nlisten = \"{address}:8080\"\n\
             service_address = \"{address}\"\nservice_ports = [20000, 20003]\n\
             milli_cpu = 1000\nmemory_mib = 128\npids = 64\nprice_per_second_wei = \"{}\"\n\
             receipt_interval_seconds = 5\nnotice_seconds = 1\n{promises}\n",
            1_000_000 + u32::from(site)
        ));
    }
    let ports = ProviderPorts {
        ledger: Some(Arc::new(ledger(rpc, key.clone()))),
        signer: Arc::new(key),
        runtime: Arc::new(Listeners {
            running: Mutex::default(),
            distances: Arc::clone(distances),
        }),
        set_image_token: Arc::new(|_, _| {}),
        clock: Arc::new(SystemClock::start()),
    };
    let config = ProviderConfig::parse(&text).unwrap();
    let listening = runtime.block_on(Listening::bind(config)).unwrap();
    let provider = {
        let _in_the_runtime = runtime.enter();
        Provider::new(listening, ports).unwrap()
    };
    runtime.spawn(async move { provider.serve(std::future::pending()).await });
}

struct Setting<'a> {
    folder: &'a Path,
    mode: &'a str,
    front_end: SocketAddr,
    registry: SocketAddr,
    origin: SocketAddr,
    names: SocketAddr,
    rpc: &'a str,
    provider: &'a LocalKey,
    instance: u8,
    policy: &'a str,
    lease_s: u32,
}

fn orchestrator_config(setting: &Setting<'_>) -> String {
    let Setting {
        folder,
        mode,
        front_end,
        registry,
        origin,
        names,
        rpc,
        provider,
        instance,
        policy,
        lease_s,
    } = setting;
    let sites: Vec<String> = (0..SITES)
        .map(|site| {
            format!(
                "{{ host = \"site{site}.isp.example\", port = 8080, addresses = [\"{}\"], key = \"eip155:{}:{}\" }}",
                site_address(*instance, site),
                CHAIN.0,
                provider.address()
            )
        })
        .collect();
    format!(
        "registry = \"{registry}\"\nstate_directory = {:?}\nadmin = {:?}\n\
         [application]\nname = \"shop\"\nlisten = [\"{front_end}\"]\nhosts = [\"shop.example\"]\n\
         services = [\n\
         {{ placement = \"cloud\", name = \"origin\", address = \"{origin}\" }},\n\
         {{ placement = \"edge\", name = \"objects\", image = \"/none\", digest = \"sha256:{:064}\", port = 8080, health = \"/healthz\", needs = {{ milli_cpu = 500, memory_mib = 64, pids = 32 }} }},\n\
         ]\n\
         [resolver]\naddresses = [\"{names}\"]\n\
         [wallet]\nkey_file = {:?}\nchain_id = {}\nrpc = \"{rpc}\"\nescrow = \"{}\"\n\
         [budget]\nwei_per_hour = \"{ETHER}\"\nwei_per_day = \"{ETHER}\"\nwei_per_site = \"{ETHER}\"\n\
         [policy]\nlease_s = {lease_s}\nkey_binding = \"dns\"\ntrial = \"unverified\"\nmoney = \"unverified\"\nallowed_prefixes = [\"127.0.0.0/8\", \"240.0.0.0/4\"]\n{policy}\
         [placement]\nmode = \"{mode}\"\n\
         [pace]\ntopology_ms = 100\nplatforms_ms = 500\nsettle_ms = 1000\nhealth_ms = 100\n\
         [topology]\nimported = [{:?}]\nimported_use = \"replace\"\n\
         [discovery]\nsites = [{}]\n",
        folder.join("orchestrator"),
        folder.join("admin"),
        0,
        folder.join("buyer.key"),
        CHAIN.0,
        dev::dev_escrow_address(),
        folder.join("paths.jsonl"),
        sites.join(", ")
    )
}

/// A workload is a listener on its service address that answers everything well.
#[derive(Debug)]
struct Listeners {
    running: Mutex<BTreeMap<WorkloadId, (SocketAddr, AbortHandle, bool)>>,
    distances: Distances,
}

impl SiteRuntime for Listeners {
    fn start<'a>(
        &'a self,
        id: WorkloadId,
        _workload: &'a Workload,
        address: SocketAddr,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await;
            let listener = listener.map_err(|error| RuntimeError::Start {
                detail: error.to_string(),
            })?;
            let serving = tokio::spawn(answer_all(listener));
            let entry = (address, serving.abort_handle(), false);
            self.running.lock().unwrap().insert(id, entry);
            Ok(())
        })
    }

    fn drain<'a>(
        &'a self,
        id: WorkloadId,
        _origin: &'a str,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        if let Some((_, _, drains)) = self.running.lock().unwrap().get_mut(&id) {
            *drains = true;
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn stop(&self, id: WorkloadId) -> BoxFuture<'_, Result<(), RuntimeError>> {
        if let Some((_, serving, _)) = self.running.lock().unwrap().remove(&id) {
            serving.abort();
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn state(&self, id: WorkloadId) -> WorkloadState {
        match self.running.lock().unwrap().get(&id) {
            Some((address, _, true)) => WorkloadState::Draining { address: *address },
            Some((address, _, false)) => WorkloadState::Running { address: *address },
            None => WorkloadState::Absent,
        }
    }

    fn round_trips(&self, _id: WorkloadId) -> Vec<(IpNet, Rtt)> {
        self.distances.lock().unwrap().clone()
    }
}
