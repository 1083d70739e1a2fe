//! Starting the demo's processes, in the order in which they need each other, and ending them.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_lab::lab::Lab;
use edge_lab::network::{Network, PartyId};
use edge_lab::party::PartyNamespace;
use edge_lab::sandbox::{Inside, Interrupts};
use edge_lab::scenario::Scenario;

use super::cast::{CHAIN, Cast};
use super::{Args, report, say, watch};
use edge_console::exit::Failure;

/// How long a process may take until it listens.
const START: Duration = Duration::from_secs(15);

/// The whole demo, inside its sandbox.
pub(super) fn perform(
    args: &Args,
    scenario: &Scenario,
    inside: Inside,
    interrupts: Interrupts,
) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    say(&format!(
        "ExEC demo: {} ({} routers, {} client networks, {} providers), seed {}",
        scenario.name,
        scenario.routers.len(),
        scenario.clients.len(),
        scenario.providers.len(),
        args.seed,
    ));
    let directory = inside.directory.clone();
    if let Err(error) = inside.memory_directory(SITES, SITES_OCTETS) {
        say(&format!(
            "the providers' files stay on the disk, which may disturb the figures: {error}"
        ));
    }
    let network = Arc::new(Network::compile(scenario));
    let lab = Lab::start(inside, network).map_err(Failure::runtime)?;
    std::thread::spawn(move || end_on(&interrupts));
    say(&format!("[{}] the packet network is up", clock(started)));
    let cast = Cast::prepare(args, scenario, &directory)?;
    say(&format!(
        "[{}] the edge service's image is built: {:.1} MB to pull",
        clock(started),
        cast.image.transfer_bytes as f64 / 1e6
    ));
    let mut stage = Stage {
        lab: &lab,
        logs: directory.join("logs"),
        children: Vec::new(),
    };
    let outcome = stage.run(args, &cast, started);
    if args.keep_logs || outcome.is_err() {
        stage.keep_logs(&args.report, &cast.records);
    }
    let seen = outcome?;
    let verdict = report::write(args, scenario, &lab, &cast, &seen, started)?;
    drop(stage);
    Ok(verdict)
}

/// Ends this process at the first interrupt, and with it the sandbox and everything in it.
#[expect(
    clippy::exit,
    reason = "nothing here outlives the process, and the other threads may be waiting for anything"
)]
fn end_on(interrupts: &Interrupts) {
    if interrupts.wait().is_ok() {
        say("\ninterrupted");
        std::process::exit(130);
    }
}

/// Time since the start, for people.
pub(super) fn clock(started: Instant) -> String {
    format!("{:5.1} s", started.elapsed().as_secs_f64())
}

/// The folder of the providers' files, in the lab's directory.
pub(super) const SITES: &str = "sites";

/// Octets that all providers together may write: some 40 copies of the edge service's image.
const SITES_OCTETS: u64 = 2 << 30;

struct Stage<'a> {
    lab: &'a Lab,
    logs: PathBuf,
    children: Vec<(String, Child)>,
}

impl<'a> Stage<'a> {
    fn run(&mut self, args: &Args, cast: &Cast, started: Instant) -> Result<watch::Seen> {
        std::fs::create_dir_all(&self.logs).context("making the logs' folder")?;
        let (dns, chain) = (self.party(PartyId::Dns)?, self.party(PartyId::Chain)?);
        let (cloud, clients) = (self.party(PartyId::Cloud)?, self.party(PartyId::Clients)?);

        let mut command = self.command(dns, "dns", &["demo-part", "dns", "--zones"])?;
        command.arg(&cast.zones);
        for address in &cast.resolvers {
            command.arg("--listen").arg(address.to_string());
        }
        self.start("dns", command)?;
        let mut command = self.command(
            chain,
            "chain",
            &["chain", "dev", "--deploy-escrow", "--listen"],
        )?;
        command
            .arg(cast.rpc.to_string())
            .arg("--chain-id")
            .arg(CHAIN.0.to_string());
        command.arg("--data").arg(self.logs.join("../chain"));
        for (account, wei) in &cast.funds {
            command.arg("--fund").arg(format!("{account}={wei}"));
        }
        self.start("chain", command)?;
        let mut command = self.command(cloud, "origin", &["app", "origin", "--listen"])?;
        command.arg(cast.origin.to_string());
        self.start("origin", command)?;
        for (domain, (config, _)) in &cast.providers {
            let party = self
                .lab
                .party_at(domain.as_str())
                .with_context(|| format!("{domain} has no namespace"))?;
            let mut command = self.command(party, domain.as_str(), &["provider", "--config"])?;
            command.arg(config);
            self.start(domain.as_str(), command)?;
        }
        self.await_listener("dns", dns, &cast.resolvers)?;
        self.await_listener("chain", chain, &[cast.rpc])?;
        self.await_listener("origin", cloud, &[cast.origin])?;
        for (domain, (_, apis)) in &cast.providers {
            let party = self
                .lab
                .party_at(domain.as_str())
                .with_context(|| format!("{domain} has no namespace"))?;
            self.await_listener(domain.as_str(), party, apis)?;
        }
        let mut command = self.command(cloud, "orchestrator", &["orchestrator", "--config"])?;
        command.arg(&cast.orchestrator);
        self.start("orchestrator", command)?;
        self.await_listener("orchestrator", cloud, &[cast.front_end])?;
        say(&format!(
            "[{}] {} processes are up; clients begin",
            clock(started),
            self.children.len()
        ));

        self.lab.statistics().restart_lateness();
        let mut command = self.command(
            clients,
            "clients",
            &["demo-part", "clients", "--population"],
        )?;
        command.arg(&cast.population).stdout(Stdio::piped());
        let population = command.spawn().context("starting the clients")?;
        watch::until_the_end(args, cast, population, &mut self.children, started)
    }

    fn party(&self, id: PartyId) -> Result<&'a PartyNamespace> {
        self.lab
            .party(id)
            .with_context(|| format!("the lab has no {id:?}"))
    }

    /// This program again, in a party's namespace, writing to a log of its own.
    fn command(&self, party: &PartyNamespace, name: &str, arguments: &[&str]) -> Result<Command> {
        let mut command = self
            .lab
            .own_command(party)
            .with_context(|| format!("preparing {name}"))?;
        let log = File::create(self.logs.join(format!("{name}.log")))
            .with_context(|| format!("making the log of {name}"))?;
        let copy = log
            .try_clone()
            .with_context(|| format!("making the log of {name}"))?;
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy);
        Ok(command)
    }

    fn start(&mut self, name: &str, mut command: Command) -> Result<()> {
        let child = command
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        self.children.push((name.to_owned(), child));
        Ok(())
    }

    /// Waits until something listens at all `addresses`, asked from within the same namespace.
    fn await_listener(
        &mut self,
        name: &str,
        party: &PartyNamespace,
        addresses: &[SocketAddr],
    ) -> Result<()> {
        let deadline = Instant::now() + START;
        let answers = || {
            addresses
                .iter()
                .all(|address| TcpStream::connect(address).is_ok())
        };
        while !party
            .run(answers)
            .with_context(|| format!("entering the namespace of {name}"))?
        {
            let child = self.children.iter_mut().find(|(other, _)| other == name);
            let ended = match child {
                Some((_, child)) => child
                    .try_wait()
                    .with_context(|| format!("waiting for {name}"))?,
                None => None,
            };
            if let Some(status) = ended {
                bail!(
                    "{name} ended at once with {status}: {}",
                    last_line(&self.logs.join(format!("{name}.log")))
                );
            }
            if Instant::now() > deadline {
                bail!("{name} does not listen at {addresses:?} after {START:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn keep_logs(&self, report: &Path, records: &Path) {
        let target = report.join("logs");
        let copied = std::fs::create_dir_all(&target).and_then(|()| {
            for entry in std::fs::read_dir(&self.logs)? {
                let entry = entry?;
                std::fs::copy(entry.path(), target.join(entry.file_name()))?;
            }
            if records.exists() {
                std::fs::copy(records, report.join("records.jsonl"))?;
            }
            Ok(())
        });
        match copied {
            Ok(()) => say(&format!("the processes' logs are in {}", target.display())),
            Err(error) => say(&format!("the processes' logs could not be kept: {error}")),
        }
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        for (_, child) in &mut self.children {
            // Already ended is fine; whatever survives ends with the sandbox.
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing")
        .to_owned()
}
