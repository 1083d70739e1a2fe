//! `exec-edge lab`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use edge_lab::forwarder::TrafficClass;
use edge_lab::lab::{Lab, RunningLab, party_name};
use edge_lab::network::{LinkId, Network, PartyId};
use edge_lab::sandbox::{self, Inside, Interrupts};
use edge_lab::scenario::Scenario;
use edge_lab::truth::{Flow, Truth};

use edge_console::exit::{EXIT_CODES, Failure};
use edge_console::output;

/// Where the lab's name server listens.
const DNS_PORT: u16 = 53;

/// How long its start may take.
const DNS_START: Duration = Duration::from_secs(10);

/// What else `lab run` may end with.
const COMMAND_EXIT_CODES: &str = "Once the command runs: its own exit code, or 128 and the number of the signal that ended it; 127 if there is no such program.";

/// Options of `exec-edge lab`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Hold a lab until Ctrl-C.
    #[command(after_help = EXIT_CODES)]
    Up {
        /// The scenario's file.
        scenario: PathBuf,
    },
    /// Run a command in a lab: in the one that runs this scenario, or in one for the life of the command.
    #[command(after_help = format!("{EXIT_CODES}\n{COMMAND_EXIT_CODES}"))]
    Run {
        /// The scenario's file.
        scenario: PathBuf,
        /// Where: cloud, clients, dns, chain, a provider's domain, a site's host name, or an address.
        #[arg(long, default_value = "cloud")]
        at: String,
        /// When the command has ended, write what the lab carried, and how late, as JSON. Not when joining a lab.
        #[arg(long, value_name = "FILE")]
        statistics: Option<PathBuf>,
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Say what a scenario holds.
    Show {
        /// The scenario's file.
        scenario: PathBuf,
        /// Only one address of each client network, one a line.
        #[arg(long, conflicts_with = "truth")]
        targets: bool,
        /// The ground truth, as JSON.
        #[arg(long)]
        truth: bool,
        /// With the one path of this flow to each client network instead of all that are possible, for example
        /// udp:40000:33434.
        #[arg(long, requires = "truth", value_name = "PROTOCOL:SPORT:DPORT")]
        flow: Option<Flow>,
    },
    /// Print a random tree-like network, for measuring probers.
    #[command(hide = true)]
    Generate {
        /// Client networks.
        #[arg(long, value_name = "N")]
        prefixes: usize,
        /// Seed of all that is drawn.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Measure the lab itself; prints JSON.
    #[command(hide = true)]
    Bench {
        /// Seconds for each measurement.
        #[arg(long, default_value_t = 3)]
        seconds: u32,
    },
    /// Print the paper-sized scenario, sampled from a map of the world's backbones.
    #[command(hide = true)]
    Sample {
        /// The map: `backbone/world.json` of the Python package topohub 1.5.1.
        world: PathBuf,
    },
    /// Serve the lab's zones; started by the lab.
    #[command(hide = true)]
    ServeDns {
        /// The scenario's file.
        scenario: PathBuf,
    },
}

/// Runs it. `arguments` are the program's; `inside` is the sandbox that this process supervises, if it does.
pub(crate) fn run(
    args: Args,
    arguments: &[OsString],
    inside: Option<Inside>,
) -> Result<ExitCode, Failure> {
    match args {
        Args::Up { scenario } => {
            let file = load(&scenario)?;
            match inside {
                None => enclose(arguments),
                Some(inside) => up(inside, &scenario, &file),
            }
        }
        Args::Run {
            scenario,
            at,
            statistics,
            command,
        } => {
            let file = load(&scenario)?;
            let network = Network::compile(&file);
            let party = party_name(&file, &network, &at).ok_or_else(|| {
                let known: Vec<_> = network
                    .parties()
                    .iter()
                    .map(|party| party.name.as_str())
                    .collect();
                Failure::usage(anyhow!(
                    "{}: --at {at}: nobody has this name or address",
                    scenario.display()
                ))
                .with_hint(format!("one of {}", known.join(", ")))
            })?;
            if let Some(inside) = inside {
                return run_inside(
                    inside,
                    &scenario,
                    network,
                    &party,
                    &command,
                    statistics.as_deref(),
                );
            }
            match RunningLab::find(&absolute(&scenario)?) {
                Some(_) if statistics.is_some() => Err(Failure::usage(anyhow!(
                    "{}: this lab runs already, and only its own process can write statistics",
                    scenario.display()
                ))),
                Some(running) => join(&running, &party, &command),
                None => enclose(arguments),
            }
        }
        Args::Show {
            scenario,
            targets,
            truth,
            flow,
        } => {
            show(&load(&scenario)?, targets, truth, flow);
            Ok(ExitCode::SUCCESS)
        }
        Args::Bench { seconds } => match inside {
            None => enclose(arguments),
            Some(inside) => {
                let report = edge_lab::bench::run(inside, Duration::from_secs(seconds.into()))
                    .context("cannot measure the lab")?;
                output::line(&report.to_string());
                Ok(ExitCode::SUCCESS)
            }
        },
        Args::Sample { world } => {
            let map = std::fs::read(&world)
                .with_context(|| format!("cannot read {}", world.display()))
                .map_err(Failure::usage)?;
            let scenario = edge_lab::sample::paper_scenario(&map).map_err(Failure::usage)?;
            output::line(scenario.trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Args::Generate { prefixes, seed } => {
            let scenario = edge_lab::generate::internet(prefixes, seed).map_err(Failure::usage)?;
            let heading =
                format!("Made by `exec-edge lab generate --prefixes {prefixes} --seed {seed}`.");
            let text = edge_lab::sample::render(&scenario, &heading)
                .context("cannot write the scenario")?;
            output::line(text.trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Args::ServeDns { scenario } => serve_dns(&load(&scenario)?),
    }
}

/// Runs this program again in a sandbox of its own, without what killed runs left, and leaves nothing itself.
pub(crate) fn enclose(arguments: &[OsString]) -> Result<ExitCode, Failure> {
    sweep();
    let ended = sandbox::enclose(arguments).map_err(Failure::runtime);
    sweep();
    ended
}

/// Removes the control groups of containers whose agents are gone, killed ones of earlier runs among them.
fn sweep() {
    if let Err(error) = edge_runtime::sweep_leftovers(None) {
        tracing::warn!(%error, "control groups of an earlier run may be left");
    }
}

fn load(file: &Path) -> Result<Scenario, Failure> {
    Scenario::load(file).map_err(Failure::usage)
}

fn absolute(file: &Path) -> Result<PathBuf, Failure> {
    Ok(std::fs::canonicalize(file).with_context(|| format!("cannot find {}", file.display()))?)
}

/// Starts a lab with its name server. The server ends with the lab.
fn start(inside: Inside, scenario: &Path, network: Network) -> Result<(Lab, Child), Failure> {
    let lab = Lab::start(inside, Arc::new(network)).map_err(Failure::runtime)?;
    let dns = start_dns(&lab, scenario)?;
    Ok((lab, dns))
}

fn start_dns(lab: &Lab, scenario: &Path) -> Result<Child, Failure> {
    let party = lab.party(PartyId::Dns).context("the lab has no dns host")?;
    let mut child = lab
        .own_command(party)
        .context("cannot prepare the name server")?
        .args(["lab", "serve-dns"])
        .arg(scenario)
        .stdin(std::process::Stdio::null())
        .spawn()
        .context("cannot start the name server")?;
    let servers: Vec<SocketAddr> = party
        .party()
        .addresses
        .iter()
        .map(|address| (*address, DNS_PORT).into())
        .collect();
    let deadline = Instant::now() + DNS_START;
    loop {
        let answers = party
            .run(|| {
                servers
                    .iter()
                    .all(|server| TcpStream::connect(server).is_ok())
            })
            .context("cannot enter the name server's namespace")?;
        if answers {
            return Ok(child);
        }
        if let Some(status) = child
            .try_wait()
            .context("cannot wait for the name server")?
        {
            return Err(anyhow!("the name server ended at once: {status}").into());
        }
        if Instant::now() > deadline {
            return Err(anyhow!("the name server does not answer after {DNS_START:?}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn serve_dns(scenario: &Scenario) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime
        .block_on(edge_lab::dns_server::serve(scenario))
        .map_err(Failure::runtime)?;
    Ok(ExitCode::SUCCESS)
}

fn up(inside: Inside, scenario: &Path, file: &Scenario) -> Result<ExitCode, Failure> {
    let interrupts = Interrupts::hold().context("cannot hold interrupts")?;
    let (lab, _dns) = start(inside, scenario, Network::compile(file))?;
    lab.announce(&absolute(scenario)?)
        .map_err(Failure::runtime)?;
    output::line(&format!("lab {} is up; Ctrl-C ends it", file.name));
    output::line(&format!(
        "join it:  exec-edge lab run {} --at cloud -- COMMAND",
        scenario.display()
    ));
    output::line(&format!(
        "targets:  exec-edge lab show {} --targets",
        scenario.display()
    ));
    interrupts.wait().context("cannot wait for interrupts")?;
    lab.stop().context("the forwarder failed")?;
    Ok(ExitCode::SUCCESS)
}

fn run_inside(
    inside: Inside,
    scenario: &Path,
    network: Network,
    party: &str,
    command: &[OsString],
    statistics: Option<&Path>,
) -> Result<ExitCode, Failure> {
    // The command gets an interrupt from the keyboard itself, and ends the lab by ending.
    let _held = Interrupts::hold().context("cannot hold interrupts")?;
    let (lab, _dns) = start(inside, scenario, network)?;
    lab.announce(&absolute(scenario)?)
        .map_err(Failure::runtime)?;
    let (program, arguments) = split(command)?;
    let child = lab
        .party_at(party)
        .context("the party is gone")?
        .command(program)
        .context("cannot prepare the command")?;
    lab.statistics().restart_lateness();
    let code = finish(child, program, arguments)?;
    if let Some(file) = statistics {
        std::fs::write(file, format!("{:#}\n", carried(&lab)))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    lab.stop().context("the forwarder failed")?;
    Ok(code)
}

/// What a lab carried so far.
fn carried(lab: &Lab) -> serde_json::Value {
    let (network, statistics) = (lab.network(), lab.statistics());
    let place = |id: PartyId| {
        let party = network.parties().iter().find(|party| party.id == id)?;
        network.locate(*party.addresses.first()?)
    };
    let packets = |link: Option<LinkId>| -> u64 {
        let classes = TrafficClass::ALL.iter();
        link.map_or(0, |link| {
            classes
                .map(|class| statistics.link(link, *class).packets)
                .sum()
        })
    };
    let all = statistics.snapshot();
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    serde_json::json!({
        "sent_by_cloud": packets(place(PartyId::Cloud).map(|cloud| cloud.uplink)),
        "sent_to_dns": packets(place(PartyId::Dns).map(|dns| dns.downlink)),
        "delivered": all.delivered.packets,
        "router_messages": all.router_messages,
        "drops": all.drops.iter().map(|(reason, count)| (reason.name(), *count)).collect::<BTreeMap<_, _>>(),
        "lateness_ms": {
            "p50": ms(all.lateness.p50), "p99": ms(all.lateness.p99), "max": ms(all.lateness.max),
        },
    })
}

fn join(running: &RunningLab, party: &str, command: &[OsString]) -> Result<ExitCode, Failure> {
    let _held = Interrupts::hold().context("cannot hold interrupts")?;
    let (program, arguments) = split(command)?;
    let child = running.command(party, program).map_err(Failure::runtime)?;
    finish(child, program, arguments)
}

fn split(command: &[OsString]) -> Result<(&OsString, &[OsString]), Failure> {
    command
        .split_first()
        .ok_or_else(|| Failure::usage(anyhow!("no command given")))
}

/// Runs a command to its end; the exit code is its own, or, as in a shell, 127 if there is no such program.
fn finish(
    mut command: Command,
    program: &OsString,
    arguments: &[OsString],
) -> Result<ExitCode, Failure> {
    match command.args(arguments).status() {
        Ok(status) => Ok(sandbox::exit_code(status)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            output::error(&format!("error: {}: command not found", program.display()));
            Ok(ExitCode::from(127))
        }
        Err(error) => Err(anyhow::Error::new(error)
            .context(format!("cannot run {}", program.display()))
            .into()),
    }
}

fn show(scenario: &Scenario, targets: bool, truth: bool, flow: Option<Flow>) {
    let network = Network::compile(scenario);
    let known = Truth::new(scenario, &network);
    if truth {
        return output::line(&known.to_json(flow).to_string());
    }
    if targets {
        for target in known.targets() {
            output::line(&target.to_string());
        }
        return;
    }
    output::line(&scenario.name);
    if !scenario.description.is_empty() {
        output::line(&format!("  {}", scenario.description));
    }
    let sites: usize = scenario
        .providers
        .iter()
        .map(|provider| provider.sites.len())
        .sum();
    let cloud: Vec<String> = scenario
        .cloud
        .addresses
        .iter()
        .map(IpAddr::to_string)
        .collect();
    for (what, value) in [
        ("routers", network.routers().len().to_string()),
        ("links", scenario.links.len().to_string()),
        ("client networks", scenario.clients.len().to_string()),
        ("providers", scenario.providers.len().to_string()),
        ("edge sites", sites.to_string()),
        (
            "cloud",
            format!("{} ({})", scenario.cloud.host, cloud.join(", ")),
        ),
    ] {
        output::line(&format!("  {what:<16} {value}"));
    }
    let mut delays: Vec<Duration> = known
        .targets()
        .into_iter()
        .filter_map(|target| known.rtt_from_cloud(target))
        .collect();
    delays.sort_unstable();
    if let (Some(least), Some(most)) = (delays.first(), delays.last()) {
        let median = delays[delays.len() / 2];
        let ms = |duration: &Duration| duration.as_secs_f64() * 1000.0;
        output::line(&format!(
            "  {:<16} {:.1} / {:.1} / {:.1} ms (least, median, most)",
            "round trips",
            ms(least),
            ms(&median),
            ms(most)
        ));
    }
}
