//! The lab of the bench: its name servers (NSD), and a resolver (Unbound) that is started anew, and so cold, for every run.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::world::{NAME_SERVERS, ROOT, SCENARIO, World};
use crate::bench::exec_edge;

/// How long the servers' start may take.
const START: Duration = Duration::from_secs(20);

/// Takes questions at its arguments and answers none.
const SILENCE: &str = "import socket,sys,time\n\
    held=[socket.socket(socket.AF_INET,socket.SOCK_DGRAM) for _ in sys.argv[1:]]\n\
    [s.bind((a,53)) for s,a in zip(held,sys.argv[1:])]\n\
    time.sleep(1e6)\n";

/// A running lab with its name servers. All end with it.
#[derive(Debug)]
pub(super) struct Lab {
    folder: PathBuf,
    scenario: PathBuf,
    children: Vec<Child>,
}

impl Lab {
    pub(super) fn start(world: &World, folder: &Path) -> Result<Self> {
        let scenario = folder.join("discovery.toml");
        write(&scenario, SCENARIO)?;
        let mut up = exec_edge(&["lab", "up"])
            .arg(&scenario)
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the lab")?;
        let output = up.stdout.take().context("reading from the lab")?;
        let mut lab = Self {
            folder: folder.to_owned(),
            scenario,
            children: vec![up],
        };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if !line.contains("is up") {
            bail!("the lab does not come up: {line}");
        }
        for server in &world.servers {
            let zones = folder.join(server.name);
            fs::create_dir_all(&zones)?;
            let mut configuration = nsd(&zones, &server.addresses);
            for (number, (apex, text)) in server.zones.iter().enumerate() {
                let file = format!("{number}.zone");
                write(&zones.join(&file), text)?;
                let _infallible = writeln!(
                    configuration,
                    "zone:\n  name: \"{apex}\"\n  zonefile: \"{file}\""
                );
            }
            let file = zones.join("nsd.conf");
            write(&file, &configuration)?;
            let file = file.to_string_lossy().into_owned();
            lab.serve(&["nsd", "-d", "-c", &file])?;
        }
        let silent = world.silent.iter().map(String::as_str);
        let python: Vec<&str> = ["python3", "-c", SILENCE]
            .into_iter()
            .chain(silent)
            .collect();
        lab.serve(&python)?;
        for server in &world.servers {
            // It opens them in order, before it answers anything.
            if let Some(address) = server.addresses.last() {
                lab.wait_for(address)?;
            }
        }
        Ok(lab)
    }

    fn serve(&mut self, command: &[&str]) -> Result<()> {
        let mut server = self.command(NAME_SERVERS, command);
        let server = server.stdout(Stdio::null()).spawn();
        self.children
            .push(server.context("starting a name server")?);
        Ok(())
    }

    /// Waits until somebody at the address answers, whatever it says.
    fn wait_for(&self, address: &str) -> Result<()> {
        let server = format!("@{address}");
        let started = Instant::now();
        loop {
            let dig = ["dig", "+tries=1", "+time=1", &server, "example", "SOA"];
            let status = self.command("cloud", &dig).stdout(Stdio::null()).status()?;
            if status.success() {
                return Ok(());
            }
            if started.elapsed() > START {
                bail!("the name server at {address} does not answer");
            }
        }
    }

    /// A command in the lab.
    pub(super) fn command(&self, at: &str, command: &[&str]) -> Command {
        let mut run = exec_edge(&["lab", "run"]);
        run.arg(&self.scenario)
            .args(["--at", at, "--"])
            .args(command)
            .current_dir(&self.folder);
        run
    }

    /// Starts a resolver with nothing in its memory, at 127.0.0.1 of the cloud.
    pub(super) fn cold_resolver(&self) -> Result<Resolver> {
        let file = self.folder.join("unbound.conf");
        write(&self.folder.join("root.hints"), &hints())?;
        write(&file, &unbound(&self.folder))?;
        let file = file.to_string_lossy().into_owned();
        let child = self
            .command("cloud", &["unbound", "-d", "-c", &file])
            .spawn()
            .context("starting unbound")?;
        let resolver = Resolver(child);
        let started = Instant::now();
        // Answered by itself, so that nothing is learnt.
        let dig = "dig +tries=1 +time=1 @127.0.0.1 version.bind CH TXT > /dev/null";
        let wait = format!("for i in $(seq 200); do {dig} && exit; sleep 0.02; done; exit 1");
        let status = self.command("cloud", &["sh", "-c", &wait]).status()?;
        if !status.success() || started.elapsed() > START {
            bail!("unbound does not answer");
        }
        Ok(resolver)
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

/// A running resolver.
#[derive(Debug)]
pub(super) struct Resolver(Child);

impl Drop for Resolver {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

fn nsd(folder: &Path, addresses: &[String]) -> String {
    let folder = folder.display();
    let mut text = format!(
        "server:\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{folder}\"\n  pidfile: \"\"\n  database: \"\"\n  \
         xfrdfile: \"\"\n  xfrdir: \"{folder}\"\n  zonelistfile: \"{folder}/zone.list\"\n  logfile: \"{folder}/log\"\n  \
         server-count: 1\n  do-ip6: no\n  rrl-ratelimit: 0\n  rrl-whitelist-ratelimit: 0\n  \
         receive-buffer-size: 4194304\n"
    );
    for address in addresses {
        let _infallible = writeln!(text, "  ip-address: {address}");
    }
    text + "remote-control:\n  control-enable: no\n"
}

fn hints() -> String {
    format!(". 3600000 NS a.root-server.\na.root-server. 3600000 A {ROOT}\n")
}

/// With room for all questions at once, and without what only costs time here. Debian's drops what one client asks beyond a
/// thousand questions that wait, and what waited for 1.9 s, unless told otherwise: its answer to CVE-2024-33655.
fn unbound(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "server:\n  interface: 127.0.0.1\n  access-control: 127.0.0.0/8 allow\n  username: \"\"\n  chroot: \"\"\n  \
         directory: \"{folder}\"\n  pidfile: \"\"\n  use-syslog: no\n  logfile: \"{folder}/unbound.log\"\n  do-ip6: no\n  \
         num-threads: 1\n  outgoing-range: 8192\n  num-queries-per-thread: 8192\n  so-rcvbuf: 4m\n  so-sndbuf: 4m\n  \
         msg-cache-size: 64m\n  rrset-cache-size: 128m\n  infra-cache-numhosts: 100000\n  module-config: \"iterator\"\n  \
         root-hints: \"{folder}/root.hints\"\n  wait-limit: 0\n  \
         discard-timeout: 0\n  qname-minimisation: no\n  unblock-lan-zones: yes\n  \
         insecure-lan-zones: yes\n  jostle-timeout: 1000\n  target-fetch-policy: \"0 0 0 0 0\"\n\
         remote-control:\n  control-enable: no\n"
    )
}
