//! The chain, the files and the processes, and what kills them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use edge_chain::LocalKey;
use edge_chain::dev::{self, DevChain, DevConfig};
use edge_journal::crash;
use edge_negotiation::NegotiationState;
use edge_orchestrator::journal::{Recovered, Written, journal_file};
use edge_ports::{Clock, Ledger, Signer, SystemClock};
use edge_types::{ChainId, Offer, UtcTime};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::parts::ledger;

pub(crate) const PROVIDER: &str = "provider.toml";
pub(crate) const ORCHESTRATOR: &str = "orchestrator.toml";
pub(crate) const PROVIDER_KEY: &str = "provider.key";
pub(crate) const BUYER_KEY: &str = "buyer.key";
/// The buyer ends when this file is there.
pub(crate) const STOP: &str = "stop";
/// The TLSA record of all sites, as a signed zone would tell it.
pub(crate) const PIN: &str = "pin";
const CERTIFICATE: &str = "certificate.pem";
const TLS_KEY: &str = "tls.key";
pub(crate) const CHAIN: ChainId = ChainId(1337);

/// Sites, each with the hardware for exactly one lease.
const SITES: u8 = 6;
const LEASE_SECONDS: u64 = 8;
/// A process dies at one of so many write points after its start.
const POINTS: u64 = 48;
const ETHER: u128 = 1_000_000_000_000_000_000;
/// What has not ended so long after the last kill waits for a window of hours or days.
const BEFORE_LEAP: Duration = Duration::from_secs(25);
/// After the last kill everything is over within a lease, a few retries and a settlement. A payment that was begun and
/// never sent is waited for until a minute after its offer ran out.
const PATIENCE: Duration = Duration::from_secs(150);

pub(crate) fn say(text: &str) {
    let _closed_pipe = writeln!(std::io::stdout(), "{text}");
}

pub(crate) struct World {
    // Dropped in this order: the processes go before their files.
    provider: Part,
    buyer: Part,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) runtime: Runtime,
    pub(crate) rpc: String,
    /// How often processes died at which point.
    pub(crate) points: BTreeMap<String, usize>,
    chance: u64,
}

struct Part {
    name: &'static str,
    folder: PathBuf,
    child: Child,
}

impl Part {
    fn start(name: &'static str, folder: &Path, die_at: Option<u64>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(name).arg(folder).stdin(Stdio::null());
        command.stdout(Stdio::null());
        command.stderr(File::create(folder.join(format!("{name}.log"))).unwrap());
        command.env_remove(crash::VARIABLE);
        if let Some(number) = die_at {
            command.env(crash::VARIABLE, number.to_string());
        }
        Self {
            name,
            folder: folder.to_owned(),
            child: command.spawn().unwrap(),
        }
    }

    /// Where it died, if it did; anything but a kill at a write point is a failure.
    fn died(&mut self) -> Option<String> {
        let status = self.child.try_wait().unwrap()?;
        let log = fs::read_to_string(self.folder.join(format!("{}.log", self.name))).unwrap();
        let point = log
            .lines()
            .find_map(|line| line.strip_prefix("dies at write point "))
            .and_then(|line| line.split_once(": "));
        let is_kill = status.signal() == Some(9);
        let (_, point) = point
            .filter(|_| is_kill)
            .unwrap_or_else(|| panic!("the {} ended by itself ({status}):\n{log}", self.name));
        Some(format!("{}, {point}", self.name))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::dying_at(Some(POINTS))
    }

    /// One in which nobody is killed.
    pub(crate) fn unharmed() -> Self {
        Self::dying_at(None)
    }

    fn dying_at(first: Option<u64>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (buyer, provider) = (LocalKey::generate().unwrap(), LocalKey::generate().unwrap());
        buyer.write_plain(&folder.path().join(BUYER_KEY)).unwrap();
        provider
            .write_plain(&folder.path().join(PROVIDER_KEY))
            .unwrap();
        let runtime = Runtime::new().unwrap();
        let chain = DevChain::open(&DevConfig {
            chain: CHAIN,
            data: folder.path().join("chain"),
            fund: [
                (buyer.address(), 1_000 * ETHER),
                (provider.address(), 1_000 * ETHER),
            ]
            .into(),
            deploy_escrow: true,
        })
        .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let rpc = listener.local_addr().unwrap().to_string();
        runtime.spawn(dev::serve(chain, listener));
        new_identity(folder.path());
        fs::write(
            folder.path().join(PROVIDER),
            provider_config(folder.path(), &rpc),
        )
        .unwrap();
        fs::write(
            folder.path().join(ORCHESTRATOR),
            orchestrator_config(folder.path(), &rpc, &provider),
        )
        .unwrap();
        let provider = Part::start("provider", folder.path(), first);
        await_sites();
        Self {
            provider,
            buyer: Part::start("buyer", folder.path(), first),
            runtime,
            rpc,
            points: BTreeMap::new(),
            chance: 0x9e37_79b9_7f4a_7c15,
            folder,
        }
    }

    /// Has the provider's owner take the hardware of a running lease back; the lease, and when it stops.
    pub(crate) fn take_back(&mut self) -> (Offer, UtcTime) {
        let file = journal_file(&self.folder.path().join("orchestrator"));
        let began = Instant::now();
        let offer = loop {
            let written = Recovered::peek(&file).unwrap_or_default().agreements;
            let running = written
                .into_iter()
                .find(|written| written.record.state == NegotiationState::Running);
            match running {
                Some(written) => break written.record.offer,
                None => assert!(began.elapsed() < PATIENCE, "nothing runs"),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let key = LocalKey::read_plain(&self.folder.path().join(PROVIDER_KEY)).unwrap();
        let rpc = format!("http://{}", self.rpc);
        let ledger = ledger(&rpc, CHAIN, dev::dev_escrow_address(), key);
        let stop = SystemClock::start().utc().plus_seconds(3);
        let told = self.runtime.block_on(ledger.give_notice(&offer, stop));
        told.unwrap();
        (offer, stop)
    }

    /// Gives the provider another TLS key while a lease runs, which DNS tells of; the agreement that went on under it.
    pub(crate) fn change_key(&mut self) -> Written {
        let file = journal_file(&self.folder.path().join("orchestrator"));
        let began = Instant::now();
        let until = |what: &dyn Fn(&Written) -> bool| loop {
            let written = Recovered::peek(&file).unwrap_or_default().agreements;
            if let Some(found) = written.into_iter().find(|written| what(written)) {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "it does not come to that");
            std::thread::sleep(Duration::from_millis(50));
        };
        let running = until(&|written| written.record.state == NegotiationState::Running);
        // Its files are written before it is ended, so that it starts with the new ones.
        new_identity(self.folder.path());
        let folder = self.folder.path().to_owned();
        let _ = self.provider.child.kill();
        let _ = self.provider.child.wait();
        self.provider = Part::start("provider", &folder, None);
        until(&|written| written.id() == running.id() && written.transport != running.transport)
    }

    /// Lets processes die at write points until so many have.
    pub(crate) fn kill(&mut self, kills: usize) {
        let mut done = 0;
        let mut last = Instant::now();
        while done < kills {
            let folder = self.folder.path().to_owned();
            for is_buyer in [false, true] {
                let part = if is_buyer {
                    &mut self.buyer
                } else {
                    &mut self.provider
                };
                let Some(point) = part.died() else { continue };
                *self.points.entry(point).or_insert(0) += 1;
                done += 1;
                last = Instant::now();
                self.chance ^= self.chance << 13;
                self.chance ^= self.chance >> 7;
                self.chance ^= self.chance << 17;
                let die_at = (done < kills).then_some(1 + self.chance % POINTS);
                *part = Part::start(part.name, &folder, die_at);
            }
            assert!(last.elapsed() < PATIENCE, "nothing happens any more");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lets both sides come to an end without further kills.
    pub(crate) fn wind_down(&mut self) {
        let folder = self.folder.path().to_owned();
        for part in [&mut self.provider, &mut self.buyer] {
            let _ = part.child.kill();
            let _ = part.child.wait();
            *part = Part::start(part.name, &folder, None);
        }
        // A last round of agreements, so that the last kills are followed by some work too.
        std::thread::sleep(Duration::from_secs(2));
        File::create(folder.join(STOP)).unwrap();
        let began = Instant::now();
        let mut has_leapt = false;
        while self.buyer.child.try_wait().unwrap().is_none() {
            // Who stood still for longer than a receipt's interval was claimed from, and that takes hours to run out.
            if !has_leapt && began.elapsed() > BEFORE_LEAP {
                self.leap();
                has_leapt = true;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "the buyer's agreements do not end:\n{}",
                open_agreements(&folder)
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        // What the provider withdraws comes after the buyer's last look at the ledger.
        std::thread::sleep(Duration::from_secs(2));
    }

    /// Puts the chain's time ahead, beyond every window of the escrow.
    fn leap(&self) {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"evm_increaseTime","params":["0x54600"]}"#;
        let mut stream = TcpStream::connect(&self.rpc).unwrap();
        write!(
            stream,
            "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("result"), "{answer}");
    }

    /// Keeps the files for a look at what went wrong.
    pub(crate) fn keep(&mut self) {
        self.folder.disable_cleanup(true);
        say(&format!("files are in {}", self.folder.path().display()));
    }
}

/// Waits until all sites listen, or some time: a buyer may ask a stranger's site only so often.
fn await_sites() {
    let began = Instant::now();
    let listens = |site| TcpStream::connect((address(site), 8080)).is_ok();
    while !(0..SITES).all(listens) && began.elapsed() < PATIENCE / 5 {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Gives all sites one new key for TLS.
fn new_identity(folder: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["isp.example".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    fs::write(folder.join(CERTIFICATE), certificate.pem()).unwrap();
    fs::write(folder.join(TLS_KEY), key.serialize_pem()).unwrap();
    let digest = Sha256::digest(rcgen::PublicKeyData::subject_public_key_info(&key));
    let digits: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    let pin = folder.join(PIN);
    fs::write(pin.with_extension("new"), format!("3 1 1 {digits}")).unwrap();
    fs::rename(pin.with_extension("new"), pin).unwrap();
}

fn open_agreements(folder: &Path) -> String {
    let file = journal_file(&folder.join("orchestrator"));
    let written = Recovered::peek(&file).unwrap().agreements;
    written
        .iter()
        .filter(|written| !written.record.state.is_final())
        .map(|written| format!("{}: {:?}\n", written.record.offer.site, written.steps))
        .collect()
}

/// Addresses of their own for each run, so that runs do not meet.
pub(crate) fn address(site: u8) -> IpAddr {
    static PARENT: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let [.., high, low] = PARENT.get_or_init(std::process::id).to_be_bytes();
    Ipv4Addr::new(127, high.max(1), low, 10 + site).into()
}

fn provider_config(folder: &Path, rpc: &str) -> String {
    let escrow = dev::dev_escrow_address();
    let mut text = format!(
        "key_file = \"unused\"\nstate_directory = {:?}\nallow_addresses = [\"127.0.0.0/8\"]\n\
         [ledger]\nrpc_url = \"http://{rpc}\"\nchain_id = {}\ncontract = \"{escrow}\"\npoll_interval_ms = 50\n",
        folder.join("provider"),
        CHAIN.0
    );
    for site in 0..SITES {
        let address = address(site);
        text.push_str(&format!(
            "[[site]]\nhost = \"site{site}.isp.example\"\nport = 8080\nlisten = \"{address}:8080\"\n\
             service_address = \"{address}\"\nservice_ports = [20000, 20003]\n\
             milli_cpu = 500\nmemory_mib = 64\npids = 32\nprice_per_second_wei = \"1000000\"\n\
             receipt_interval_seconds = 5\nnotice_seconds = 1\ntls = {{ certificates = {:?}, key = {:?} }}\n",
            folder.join(CERTIFICATE),
            folder.join(TLS_KEY),
        ));
    }
    text
}

fn orchestrator_config(folder: &Path, rpc: &str, provider: &LocalKey) -> String {
    let escrow = dev::dev_escrow_address();
    let sites: Vec<String> = (0..SITES)
        .map(|site| {
            format!(
                "{{ host = \"site{site}.isp.example\", port = 8080, addresses = [\"{}\"], key = \"eip155:{}:{}\" }}",
                address(site),
                CHAIN.0,
                provider.address()
            )
        })
        .collect();
    format!(
        "registry = \"127.0.0.1:5000\"\nstate_directory = {:?}\n\
         [application]\nname = \"shop\"\nlisten = [\"127.0.0.1:80\"]\nhosts = [\"shop.example\"]\n\
         services = [\n\
         {{ placement = \"cloud\", name = \"origin\", address = \"127.0.0.1:8081\" }},\n\
         {{ placement = \"edge\", name = \"objects\", image = \"/none\", digest = \"sha256:{:064}\", port = 8080, health = \"/healthz\", needs = {{ milli_cpu = 500, memory_mib = 64, pids = 32 }} }},\n\
         ]\n\
         [resolver]\naddresses = [\"127.0.0.1:53\"]\n\
         [wallet]\nkey_file = \"unused\"\nchain_id = {}\nrpc = \"{rpc}\"\nescrow = \"{escrow}\"\n\
         [budget]\nwei_per_hour = \"{ETHER}\"\nwei_per_day = \"{ETHER}\"\nwei_per_site = \"{ETHER}\"\n\
         [policy]\nlease_s = {LEASE_SECONDS}\nkey_binding = \"dns\"\n\
         [discovery]\nsites = [{}]\n",
        folder.join("orchestrator"),
        0,
        CHAIN.0,
        sites.join(", ")
    )
}
