//! The peers from Debian, each started in its party's namespace with a configuration and a directory of its own.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use edge_lab::lab::Lab;

use crate::place::Host;
use crate::signing::{self, OWN_POLICY};

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A zone that a server is to serve: its apex without the final dot (empty for the root) and its file.
#[derive(Clone, Debug)]
pub(crate) struct ZoneFile {
    pub(crate) apex: String,
    pub(crate) file: PathBuf,
    /// Signed beforehand.
    pub(crate) is_signed: bool,
    /// Absent names are denied by hash.
    pub(crate) is_hashed: bool,
    /// The key with which the server signs it itself: its files without their endings.
    pub(crate) own_key: Option<PathBuf>,
    /// What Unbound is served instead; only by BIND.
    pub(crate) for_unbound: Option<PathBuf>,
}

/// A running server; its process ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    host: Host,
    process: Child,
    log: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Starts the server of `host`, which does not yet listen.
    pub(crate) fn start(lab: &Lab, host: Host, zones: &[ZoneFile], home: &Path) -> Self {
        fs::create_dir_all(home).unwrap();
        let (program, arguments) = match host {
            Host::Bind => bind(zones, home),
            Host::Knot => knot(zones, home, host),
            Host::Nsd | Host::Registry => nsd(zones, home, host),
            Host::Pdns => pdns(zones, home),
            Host::Unbound | Host::Hostile => panic!("{host:?} has no zone files"),
        };
        Self::spawn(lab, host, program, &arguments, home)
    }

    /// Starts Unbound with the lab's root server and trust anchor, a DS record of the root.
    pub(crate) fn start_unbound(lab: &Lab, anchor: &str, home: &Path) -> Self {
        fs::create_dir_all(home).unwrap();
        let (root, own) = (Host::Registry.address(), Host::Unbound.address());
        let hints = home.join("root.hints");
        fs::write(
            &hints,
            format!(". NS ns-registry.example.\nns-registry.example. A {root}\n"),
        )
        .unwrap();
        let config = format!(
            "server:\n  interface: {own}\n  access-control: 240.0.0.0/4 allow\n  username: \"\"\n  chroot: \"\"\n\
             \x20 directory: \"{home}\"\n  pidfile: \"\"\n  use-syslog: no\n  logfile: \"\"\n  do-daemonize: no\n\
             \x20 num-threads: 1\n  so-rcvbuf: 0\n  module-config: \"validator iterator\"\n  root-hints: \"{hints}\"\n\
             \x20 trust-anchor: \"{anchor}\"\n  ede: yes\n  do-ip6: no\n  trust-anchor-signaling: no\n\
             remote-control:\n  control-enable: no\n",
            home = home.display(),
            hints = hints.display(),
        );
        let file = write(home, "unbound.conf", &config);
        Self::spawn(
            lab,
            Host::Unbound,
            "/usr/sbin/unbound",
            &["-d".to_owned(), "-c".to_owned(), file],
            home,
        )
    }

    fn spawn(lab: &Lab, host: Host, program: &str, arguments: &[String], home: &Path) -> Self {
        let log = home.join("log");
        let output = File::create(&log).unwrap();
        let process = host
            .party(lab)
            .command(program)
            .unwrap()
            .args(arguments)
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program} does not start ({error}); `cargo xtask test` installs what tests need")
            });
        Self { host, process, log }
    }

    /// Waits until it has signed what it is to sign itself, which BIND does when it already answers.
    pub(crate) fn wait_until_it_signs(&self, lab: &Lab, zones: &[ZoneFile]) {
        let start = Instant::now();
        for zone in zones.iter().filter(|zone| zone.own_key.is_some()) {
            let is_signed = || {
                let mut dig = self.host.party(lab).command("dig").unwrap();
                let server = format!("@{}", self.host.address());
                dig.args([
                    &server, "+dnssec", "+short", "+tries=1", &zone.apex, "DNSKEY",
                ]);
                // The key, and a line with its signature.
                let said = signing::run(&mut dig).stdout;
                said.iter().filter(|octet| **octet == b'\n').count() > 1
            };
            while !is_signed() {
                assert!(start.elapsed() < PATIENCE, "{} is not signed", zone.apex);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Lets it read its zones again.
    pub(crate) fn reload(&self) {
        signing::run(Command::new("kill").args(["-HUP", &self.process.id().to_string()]));
    }

    /// Waits until it takes connections, which all of them do only when their zones are loaded.
    pub(crate) fn wait_until_it_listens(&mut self, lab: &Lab) {
        let start = Instant::now();
        let address = (self.host.address(), 53);
        while !self
            .host
            .party(lab)
            .run(|| TcpStream::connect(address).is_ok())
            .unwrap()
        {
            let ended = self.process.try_wait().unwrap();
            assert!(
                ended.is_none() && start.elapsed() < PATIENCE,
                "{:?} does not listen ({ended:?}): {}",
                self.host,
                fs::read_to_string(&self.log).unwrap()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn write(home: &Path, name: &str, text: &str) -> String {
    let file = home.join(name);
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

/// The zones in the language of BIND's configuration, which PowerDNS reads too, each with what `more` says of it.
fn bind_zones(zones: &[ZoneFile], more: impl Fn(&ZoneFile) -> String) -> String {
    zones.iter().fold(String::new(), |mut text, zone| {
        let (apex, file, more) = (&zone.apex, zone.file.display(), more(zone));
        let _infallible = writeln!(
            text,
            "zone \"{apex}\" {{ type master; file \"{file}\"; check-names ignore;{more} }};"
        );
        text
    })
}

/// What BIND is told of a zone that it signs itself.
fn own_signing(zone: &ZoneFile) -> String {
    let keys = zone.own_key.as_deref().and_then(Path::parent);
    keys.map_or_else(String::new, |keys| {
        let keys = keys.display();
        format!(" dnssec-policy own; inline-signing yes; key-directory \"{keys}\";")
    })
}

/// The zones, Unbound's own version of some in a view of its own.
fn bind_views(zones: &[ZoneFile]) -> String {
    if zones.iter().all(|zone| zone.for_unbound.is_none()) {
        return bind_zones(zones, own_signing);
    }
    let unbounds: Vec<ZoneFile> = zones
        .iter()
        .map(|zone| ZoneFile {
            file: zone.for_unbound.clone().unwrap_or(zone.file.clone()),
            ..zone.clone()
        })
        .collect();
    format!(
        "view \"unbound\" {{ match-clients {{ {}; }};\n{} }};\nview \"others\" {{\n{} }};\n",
        Host::Unbound.address(),
        bind_zones(&unbounds, own_signing),
        bind_zones(zones, own_signing)
    )
}

fn bind(zones: &[ZoneFile], home: &Path) -> (&'static str, Vec<String>) {
    let config = format!(
        "options {{ directory \"{}\"; listen-on {{ any; }}; listen-on-v6 {{ none; }}; recursion no; pid-file none;\n\
         lock-file none; session-keyfile none; dnssec-validation no; notify no; empty-zones-enable no; }};\n\
         controls {{ }};\n{OWN_POLICY}{}",
        home.display(),
        bind_views(zones)
    );
    let file = write(home, "named.conf", &config);
    (
        "/usr/sbin/named",
        ["-g", "-n", "1", "-c", &file].map(str::to_owned).to_vec(),
    )
}

fn knot(zones: &[ZoneFile], home: &Path, host: Host) -> (&'static str, Vec<String>) {
    let directory = home.display();
    let mut config = format!(
        "server:\n  rundir: {directory}\n  listen: {}@53\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         database:\n  storage: {directory}\nlog:\n  - target: stderr\n    any: info\n\
         policy:\n  - id: own\n    manual: on\n    algorithm: ECDSAP256SHA256\n    single-type-signing: on\n\
         template:\n  - id: default\n    storage: {directory}\n    semantic-checks: off\n    journal-content: none\n\
         \x20   zonefile-sync: -1\nzone:\n",
        host.address()
    );
    for zone in zones {
        let _infallible = writeln!(
            config,
            "  - domain: \"{}.\"\n    file: \"{}\"",
            zone.apex,
            zone.file.display()
        );
        if zone.own_key.is_some() {
            config.push_str("    dnssec-signing: on\n    dnssec-policy: own\n");
        }
    }
    let file = write(home, "knot.conf", &config);
    for zone in zones {
        let Some(key) = &zone.own_key else { continue };
        let keymgr = |arguments: &[&str]| {
            let mut command = Command::new("/usr/sbin/keymgr");
            let command = command.args(["-c", &file, &zone.apex]).args(arguments);
            String::from_utf8(signing::run(command).stdout).unwrap()
        };
        let said = keymgr(&["import-bind", &format!("{}.key", key.display())]);
        let id = said.lines().next().unwrap();
        keymgr(&["set", id, "zsk=yes"]);
    }
    ("/usr/sbin/knotd", vec!["-c".to_owned(), file])
}

fn nsd(zones: &[ZoneFile], home: &Path, host: Host) -> (&'static str, Vec<String>) {
    // Without a limit of 0 it leaves out answers to whoever asks 200 times a second.
    let mut config = format!(
        "server:\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{directory}\"\n  database: \"\"\n  pidfile: \"\"\n\
         \x20 xfrdfile: \"\"\n  xfrdir: \"{directory}\"\n  zonelistfile: \"{directory}/zone.list\"\n\
         \x20 ip-address: {}\n  server-count: 1\n  rrl-ratelimit: 0\n  rrl-whitelist-ratelimit: 0\n\
         remote-control:\n  control-enable: no\n",
        host.address(),
        directory = home.display(),
    );
    for zone in zones {
        let _infallible = writeln!(
            config,
            "zone:\n  name: \"{}.\"\n  zonefile: \"{}\"",
            zone.apex,
            zone.file.display()
        );
    }
    let file = write(home, "nsd.conf", &config);
    (
        "/usr/sbin/nsd",
        vec!["-d".to_owned(), "-c".to_owned(), file],
    )
}

fn pdns(zones: &[ZoneFile], home: &Path) -> (&'static str, Vec<String>) {
    write(home, "named.conf", &bind_zones(zones, |_| String::new()));
    let directory = home.display();
    let config = format!(
        "launch=bind\nbind-config={directory}/named.conf\nbind-dnssec-db={directory}/dnssec.db\nlocal-address=0.0.0.0\n\
         socket-dir={directory}\ndaemon=no\nguardian=no\ndisable-syslog=yes\nreceiver-threads=1\ndistributor-threads=1\n\
         enable-lua-records=yes\ndname-processing=yes\n"
    );
    write(home, "pdns.conf", &config);
    let options = format!("--config-dir={directory}");
    let pdnsutil = |arguments: &[&str]| {
        let mut command = Command::new("/usr/bin/pdnsutil");
        signing::run(command.arg(&options).args(arguments));
    };
    pdnsutil(&["create-bind-db", &format!("{directory}/dnssec.db")]);
    for zone in zones.iter().filter(|zone| zone.is_signed) {
        pdnsutil(&["set-presigned", &zone.apex]);
        if zone.is_hashed {
            // It does not look for the parameters in the zone.
            pdnsutil(&["set-nsec3", &zone.apex, "1 0 0 -"]);
        }
    }
    for zone in zones {
        if let Some(key) = &zone.own_key {
            let key = format!("{}.private", key.display());
            pdnsutil(&["import-zone-key", &zone.apex, &key, "ksk"]);
            // Every name that is asked for gets a denial made for it alone.
            pdnsutil(&["set-nsec3", &zone.apex, "1 0 0 -", "narrow"]);
        }
    }
    ("/usr/sbin/pdns_server", vec![options])
}
