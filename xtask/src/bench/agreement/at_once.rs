//! Agreements with fifty providers at once, 80 ms away, by the real agents and the orchestrator's own inquiries and agreements:
//! how long from the hello until the slot is held, and until the agreement stands on the chain.
//!
//! The chain's node is beside the buyer, as an operator's own would be. Providers were greeted before, as discovery does.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::bench::exec_edge;
use crate::shell;

/// Providers, each with one site, a key and a process of its own.
const PROVIDERS: u32 = 50;
/// There and back: two access links of 0.2 ms, and what is between.
const RTT_MS: f64 = 80.0;
/// Seconds between the blocks of anvil.
const BLOCKS: [u32; 3] = [1, 5, 12];
/// What the reference federation took with 5 s blocks and without an escrow, in s.
const QUOTED_SECONDS: [f64; 2] = [6.6, 9.9];
/// How long the start of a process may take.
const START: Duration = Duration::from_secs(30);

const CLOUD: &str = "240.0.0.10";
const CHAIN: &str = "240.0.0.80";
const CHAIN_ID: &str = "1337";
/// The first account of anvil, whose key everybody knows.
const BUYER: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
const BUYER_KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

const RESERVED: &str = "hello-to-reserved";
const CONFIRMED_DEV: &str = "hello-to-confirmed/chain-dev";

fn confirmed_anvil(seconds: u32) -> String {
    format!("hello-to-confirmed/anvil-{seconds}-s")
}

/// All cases.
pub(super) fn cases() -> Vec<String> {
    let fixed = [RESERVED, CONFIRMED_DEV].map(str::to_owned);
    fixed
        .into_iter()
        .chain(BLOCKS.map(confirmed_anvil))
        .collect()
}

/// Runs what `wanted` says, and tells the conditions.
pub(super) fn run(runs: u32, wanted: impl Fn(&str) -> bool) -> Result<(Vec<Value>, Value)> {
    shell::run(shell::command(
        "cargo",
        &["build", "--release", "--package", "exec-edge"],
    ))?;
    shell::run(shell::command(
        "cargo",
        &[
            "build",
            "--release",
            "--package",
            "edge-orchestrator",
            "--example",
            "agree_at_once",
        ],
    ))?;
    let folder = shell::target().join("bench/agree-at-once");
    let _none_yet = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).context("making the bench's folder")?;
    let mut rows = Vec::new();
    if wanted(RESERVED) || wanted(CONFIRMED_DEV) {
        let mut samples = Samples::default();
        let lab = Lab::start(&folder.join("dev"), Node::Dev)?;
        for run in 1..=runs {
            samples.take(&lab.agree(run, None)?, &format!("chain dev, run {run}"));
        }
        if wanted(RESERVED) {
            let goal = 5.0 * RTT_MS + 100.0;
            rows.push(row(RESERVED, &samples.reserved, goal));
        }
        if wanted(CONFIRMED_DEV) {
            rows.push(row(CONFIRMED_DEV, &samples.confirmed, 1e3));
        }
    }
    let is_wanted = |seconds: &u32| wanted(&confirmed_anvil(*seconds));
    let blocks: Vec<u32> = BLOCKS.into_iter().filter(is_wanted).collect();
    if !blocks.is_empty() {
        let lab = Lab::start(&folder.join("anvil"), Node::Anvil(anvil()?))?;
        let mut samples: Vec<Samples> = blocks.iter().map(|_| Samples::default()).collect();
        for run in 1..=runs {
            for (seconds, samples) in blocks.iter().zip(&mut samples) {
                lab.make_blocks_each(*seconds)?;
                // Every part of the time between two blocks is tried.
                let phase = seconds * 1000 * (run - 1) / runs;
                let outcome = lab.agree(run, Some(phase))?;
                samples.take(&outcome, &format!("blocks of {seconds} s, run {run}"));
            }
        }
        for (seconds, samples) in blocks.iter().zip(&samples) {
            let goal = f64::from(*seconds).mul_add(1e3, 1e3);
            rows.push(row(&confirmed_anvil(*seconds), &samples.confirmed, goal));
        }
    }
    let conditions = format!(
        "{PROVIDERS} providers at once, {RTT_MS} ms RTT, greeted before; the chain's node beside the buyer; a sample is the 95th \
         percentile of a run; hellos begin at another part of the time between two blocks in every run"
    );
    let more = json!({
        "conditions": conditions,
        "quoted": { "uc3m_federation_5_s_blocks_without_escrow_s": QUOTED_SECONDS },
    });
    Ok((rows, more))
}

/// The 95th percentiles of the runs, ms; infinite if it did not come to be.
#[derive(Debug, Default)]
struct Samples {
    reserved: Vec<f64>,
    confirmed: Vec<f64>,
}

impl Samples {
    fn take(&mut self, outcome: &Value, what: &str) {
        let of = |field: &str| -> Vec<f64> {
            let each = outcome["agreements"].as_array().into_iter().flatten();
            let mut all: Vec<f64> = each
                .map(|agreement| agreement[field].as_f64().unwrap_or(f64::INFINITY))
                .collect();
            // Whoever made no offer has no agreement.
            all.resize(all.len().max(PROVIDERS as usize), f64::INFINITY);
            all
        };
        let (reserved, confirmed) = (p95(of("reserved_ms")), p95(of("confirmed_ms")));
        shell::say(&format!(
            "  {what}: 95 % reserved after {reserved:.0} ms, confirmed after {confirmed:.0} ms"
        ));
        self.reserved.push(reserved);
        self.confirmed.push(confirmed);
    }
}

/// The least value that 95 % do not exceed.
fn p95(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() * 95).div_ceil(100).saturating_sub(1);
    values.get(index).copied().unwrap_or(f64::INFINITY)
}

fn row(case: &str, samples: &[f64], goal: f64) -> Value {
    let holds = crate::bench::median(samples).is_some_and(|median| median <= goal);
    // JSON has no infinity: what never came to be is null.
    let samples: Vec<Option<f64>> = samples
        .iter()
        .map(|sample| sample.is_finite().then_some(*sample))
        .collect();
    json!({
        "case": case, "unit": "ms", "better": "lower",
        "ours": samples, "peer": [], "peer_name": null, "goal": goal, "holds": holds,
    })
}

/// Which chain.
enum Node {
    Dev,
    Anvil(PathBuf),
}

/// anvil from npm, below `target/peers`.
fn anvil() -> Result<PathBuf> {
    let folder = super::forge::install(&["@foundry-rs/anvil@1.7.1"], "anvil")?;
    super::forge::program(&folder, "anvil")
}

/// The network with the chain and all providers. All end with it.
struct Lab {
    folder: PathBuf,
    scenario: PathBuf,
    configuration: String,
    children: Vec<Child>,
}

impl Lab {
    fn start(folder: &Path, node: Node) -> Result<Self> {
        fs::create_dir_all(folder).context("making the lab's folder")?;
        let scenario = folder.join("at-once.toml");
        write(&scenario, &network())?;
        let key = folder.join("buyer.key");
        write(&key, BUYER_KEY)?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        let mut lab = Self {
            folder: folder.to_owned(),
            scenario,
            configuration: String::new(),
            children: Vec::new(),
        };
        let mut up = exec_edge(&["lab", "up"]);
        up.arg(&lab.scenario);
        lab.spawn(up, "is up")?;
        let escrow = lab.start_chain(node)?;
        lab.start_providers(&escrow)?;
        Ok(lab)
    }

    /// Puts the escrow on a new chain; its address.
    fn start_chain(&mut self, node: Node) -> Result<String> {
        let rpc = format!("http://{CHAIN}:8545");
        match node {
            Node::Dev => {
                let data = self.folder.join("chain").to_string_lossy().into_owned();
                let listen = format!("{CHAIN}:8545");
                let fund = format!("{BUYER}=1000000000000000000000");
                let chain = [
                    "chain", "dev", "--listen", &listen, "--data", &data, "--fund", &fund,
                ];
                let program = crate::bench::program();
                let mut command = self.at("chain", &program);
                command.args(chain);
                self.spawn(command, "ready")?;
            }
            Node::Anvil(program) => {
                let mut command = self.at("chain", &program);
                command.args(["--host", CHAIN, "--chain-id", CHAIN_ID]);
                self.spawn(command, "Listening")?;
            }
        }
        let mut deploy = self.at("cloud", &crate::bench::program());
        deploy
            .args(["contract", "deploy", "--json", "--rpc", &rpc, "--key"])
            .arg(self.folder.join("buyer.key"));
        let told: Value = serde_json::from_str(&shell::capture(deploy)?)?;
        let escrow = told["contract"].as_str().map(str::to_owned);
        escrow.context("the escrow's address is not told")
    }

    fn start_providers(&mut self, escrow: &str) -> Result<()> {
        let mut sites = Vec::new();
        for number in 1..=PROVIDERS {
            let key = self.folder.join(format!("{number}.key"));
            let mut make = exec_edge(&["chain", "key"]);
            make.arg(&key);
            let account = shell::capture(make)?.trim().to_owned();
            let file = self.folder.join(format!("{number}.toml"));
            let state = self.folder.join(format!("state-{number}"));
            write(&file, &provider(number, &key, &state, escrow))?;
            let mut agent = self.at(&host(number), &crate::bench::program());
            agent.args(["provider", "--config"]).arg(&file);
            self.spawn(agent, "ready")?;
            sites.push(format!(
                "{{ host = \"{}\", port = 80, addresses = [\"{}\"], key = \"eip155:{CHAIN_ID}:{account}\" }}",
                host(number),
                address(number)
            ));
        }
        self.configuration = orchestrator(escrow, &sites.join(", "));
        Ok(())
    }

    /// Starts a process and waits until it says that it is ready.
    fn spawn(&mut self, mut command: Command, ready: &str) -> Result<()> {
        let log = self.folder.join(format!("{}.log", self.children.len()));
        let log = fs::File::create(&log).context("making a log")?;
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("starting a process of the lab")?;
        let output = child.stdout.take();
        self.children.push(child);
        let began = Instant::now();
        let mut lines = BufReader::new(output.context("reading from a process")?).lines();
        while began.elapsed() < START {
            let Some(line) = lines.next() else { break };
            if line?.contains(ready) {
                // Whoever writes more must not be ended for it.
                std::thread::spawn(move || lines.count());
                return Ok(());
            }
        }
        bail!(
            "{command:?} does not become ready; its log is in {}",
            self.folder.display()
        )
    }

    /// A command at one of the lab's hosts.
    fn at(&self, host: &str, program: &Path) -> Command {
        let mut command = exec_edge(&["lab", "run"]);
        command
            .arg(&self.scenario)
            .args(["--at", host, "--"])
            .arg(program);
        command
    }

    /// Has anvil make a block each so many seconds from now on.
    fn make_blocks_each(&self, seconds: u32) -> Result<()> {
        let body = json!({
            "jsonrpc": "2.0", "id": 1, "method": "evm_setIntervalMining", "params": [seconds],
        });
        let mut curl = self.at("chain", Path::new("curl"));
        curl.args(["--silent", "--show-error", "--header"])
            .args(["content-type: application/json", "--data"])
            .args([body.to_string(), format!("http://{CHAIN}:8545")]);
        let answer = shell::capture(curl)?;
        if !answer.contains("result") {
            bail!("anvil does not take the interval: {answer}");
        }
        Ok(())
    }

    /// Agrees with all providers at once; what `agree_at_once` tells.
    fn agree(&self, run: u32, after_block: Option<u32>) -> Result<Value> {
        let state = self.folder.join("buyer-state");
        let _none_yet = fs::remove_dir_all(&state);
        let file = self.folder.join(format!("buyer-{run}.toml"));
        let state = format!("state_directory = {state:?}\n");
        write(&file, &(state + &self.configuration))?;
        let program = shell::target().join("release/examples/agree_at_once");
        let mut agree = self.at("cloud", &program);
        agree.arg(&file).arg(self.folder.join("buyer.key"));
        agree.args(after_block.map(|ms| ms.to_string()));
        serde_json::from_str(&shell::capture(agree)?).context("reading what agree_at_once tells")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The lab first: everything in it ends with it.
        for child in &mut self.children {
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

fn host(number: u32) -> String {
    format!("edge.isp{number}.example")
}

fn address(number: u32) -> String {
    format!("240.1.{number}.1")
}

fn network() -> String {
    let far_ms = RTT_MS / 2.0 - 0.4;
    let mut text = format!(
        "format = 1\nname = \"at-once\"\nseed = 1\n\
         cloud = {{ router = \"near\", addresses = [\"{CLOUD}\"], host = \"app.cloud.example\" }}\n\
         dns = {{ router = \"near\", addresses = [\"240.0.0.53\"] }}\n\
         chain = {{ router = \"near\", addresses = [\"{CHAIN}\"] }}\n\
         routers = [{{ id = \"near\", addresses = [\"240.0.1.1\"] }}, {{ id = \"far\", addresses = [\"240.0.2.1\"] }}]\n\
         links = [{{ a = \"near\", b = \"far\", delay_ms = {far_ms} }}]\n\
         clients = [{{ prefix = \"240.16.0.0/24\", router = \"far\" }}]\n"
    );
    for number in 1..=PROVIDERS {
        let _infallible = write!(
            text,
            "[[providers]]\ndomain = \"isp{number}.example\"\n\
             sites = [{{ host = \"{}\", router = \"far\", addresses = [\"{}\"], price_wei_per_second = \"1000\" }}]\n",
            host(number),
            address(number)
        );
    }
    text
}

/// With room for the leases of all runs, none of which is used.
fn provider(number: u32, key: &Path, state: &Path, escrow: &str) -> String {
    let address = address(number);
    format!(
        "key_file = {key:?}\nstate_directory = {state:?}\nallow_addresses = [\"240.0.0.0/4\"]\n\
         [ledger]\nrpc_url = \"http://{CHAIN}:8545\"\nchain_id = {CHAIN_ID}\ncontract = \"{escrow}\"\npoll_interval_ms = 100\n\
         [[site]]\nhost = \"{}\"\nport = 80\nlisten = \"{address}:80\"\nservice_address = \"{address}\"\n\
         service_ports = [20000, 20199]\nmilli_cpu = 100000\nmemory_mib = 65536\npids = 65536\nprice_per_second_wei = \"1000\"\n\
         receipt_interval_seconds = 10\nnotice_seconds = 2\n",
        host(number)
    )
}

fn orchestrator(escrow: &str, sites: &str) -> String {
    let ether = "1000000000000000000";
    format!(
        "registry = \"{CLOUD}:5000\"\n\
         [application]\nname = \"shop\"\nlisten = [\"{CLOUD}:80\"]\nhosts = [\"shop.example\"]\n\
         services = [\n{{ placement = \"cloud\", name = \"origin\", address = \"{CLOUD}:8081\" }},\n\
         {{ placement = \"edge\", name = \"objects\", image = \"/none\", digest = \"sha256:{:064}\", port = 8080, \
         health = \"/healthz\", needs = {{ milli_cpu = 500, memory_mib = 64, pids = 32 }} }},\n]\n\
         [resolver]\naddresses = [\"240.0.0.53:53\"]\n\
         [wallet]\nkey_file = \"unused\"\nchain_id = {CHAIN_ID}\nrpc = \"{CHAIN}:8545\"\nescrow = \"{escrow}\"\n\
         [budget]\nwei_per_hour = \"{ether}\"\nwei_per_day = \"{ether}\"\nwei_per_site = \"{ether}\"\n\
         [policy]\nlease_s = 40\nkey_binding = \"dns\"\nallowed_prefixes = [\"240.0.0.0/4\"]\n\
         [discovery]\nsites = [{sites}]\n",
        0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_95th_percentile_counts_what_never_came_to_be() {
        let of = |all: u32, late: u32| {
            let times = (1..=all).map(f64::from);
            let times = times.chain((0..late).map(|_| f64::INFINITY));
            p95(times.collect())
        };
        assert!((of(50, 0) - 48.0).abs() < 1e-9);
        assert!((of(48, 2) - 48.0).abs() < 1e-9);
        assert!(of(47, 3).is_infinite());
        assert!(of(0, 0).is_infinite());
    }
}
