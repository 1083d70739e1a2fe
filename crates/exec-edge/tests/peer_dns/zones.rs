//! From cases to zone files: every authoritative server gets the same zones under names of its own, and the registry
//! delegates them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use crate::place::Host;
use crate::servers::ZoneFile;
use crate::signing::{self, Signing};

/// One kind of zone, what the servers say about it, and what discovery has to make of it.
///
/// In all texts `@@` stands for the apex of the case's zone, which is `<name>-<host>.example`, `%s` for the host's name and `%i`
/// for its number.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The zone's records but SOA and NS, in master file syntax; the origin is the apex.
    pub(crate) records: String,
    /// Content of the PTR records of each router that leads here.
    pub(crate) routers: Vec<&'static str>,
    /// How the zone is signed.
    pub(crate) signing: Signing,
    /// Which servers the registry names for the zone.
    pub(crate) delegation: Delegation,
    /// What the server itself says: name, type, status and, sorted, the answer's records as "TYPE data".
    pub(crate) answers: Vec<(String, &'static str, &'static str, Vec<String>)>,
    /// What discovery says, see `account.rs`.
    pub(crate) outcome: Vec<String>,
}

/// Which servers the registry names for a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delegation {
    /// The one that has it.
    Right,
    /// That one and one that does not have it.
    HalfLame,
    /// Only one that ought to have it and does not.
    Lame,
    /// An address where nobody is.
    Dead,
    /// A name whose addresses may not be contacted.
    Inside,
}

impl Case {
    pub(crate) fn new(name: &'static str, records: &str) -> Self {
        Self {
            name,
            records: records.to_owned(),
            routers: vec!["r1.@@."],
            signing: Signing::None,
            delegation: Delegation::Right,
            answers: Vec::new(),
            outcome: Vec::new(),
        }
    }

    pub(crate) fn routers(self, routers: &[&'static str]) -> Self {
        Self {
            routers: routers.to_vec(),
            ..self
        }
    }

    pub(crate) fn signed(self, signing: Signing) -> Self {
        Self { signing, ..self }
    }

    pub(crate) fn delegated(self, delegation: Delegation) -> Self {
        Self { delegation, ..self }
    }

    /// A question about a name below the apex (`""` is the apex; with a final dot it is a whole name), and the answer.
    pub(crate) fn says(
        mut self,
        name: &str,
        kind: &'static str,
        status: &'static str,
        records: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let name = match name {
            "" => "@@.".to_owned(),
            whole if whole.ends_with('.') => whole.to_owned(),
            below => format!("{below}.@@."),
        };
        let mut records: Vec<String> = records.into_iter().map(Into::into).collect();
        records.sort();
        self.answers.push((name, kind, status, records));
        self
    }

    pub(crate) fn gives(mut self, outcome: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.outcome.extend(outcome.into_iter().map(Into::into));
        self
    }

    /// The zone's apex on a server.
    pub(crate) fn apex(&self, host: Host) -> String {
        format!("{}-{}.example", self.name, host.name())
    }

    /// A text of the case with everything filled in.
    pub(crate) fn fill(&self, text: &str, host: Host) -> String {
        text.replace("@@", &self.apex(host))
            .replace("%s", host.name())
            .replace("%i", &host.number().to_string())
    }

    /// Targets and ports of the entry points that are to be found.
    pub(crate) fn candidates(&self, host: Host) -> Vec<String> {
        self.outcome
            .iter()
            .filter_map(|line| line.split_once(" candidate "))
            .map(|(target, _)| self.fill(target, host))
            .collect()
    }

    /// Address of a router, by the case's position and its own.
    pub(crate) fn router(host: Host, case: usize, router: usize) -> IpAddr {
        let small = |number: usize| u8::try_from(number).unwrap();
        IpAddr::from([240, host.block(), small(case), small(router + 1)])
    }
}

/// Where a zone's server ought to be, and is not.
pub(crate) const NOBODY: Ipv4Addr = Ipv4Addr::new(240, 0, 99, 99);

/// Seconds that all records hold, and absences.
pub(crate) const TTL: u32 = 600;
const NEGATIVE_TTL: u32 = 120;

fn heading(host: Host) -> String {
    let name = host.name();
    format!(
        "$TTL {TTL}\n@ IN SOA ns-{name}.example. hostmaster.example. 1 3600 600 86400 {NEGATIVE_TTL}\n@ IN NS ns-{name}.example.\n"
    )
}

/// Everything that the servers serve.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// Zones by server.
    pub(crate) zones: BTreeMap<Host, Vec<ZoneFile>>,
    /// A DS record of the root: the trust anchor.
    pub(crate) anchor: String,
    /// The same as a DNSKEY record.
    pub(crate) key: String,
}

/// A zone that does not say the same to everybody, or everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Split {
    /// Its apex, without final dot.
    pub(crate) apex: &'static str,
    /// Whom the registry names for it.
    pub(crate) servers: &'static [Host],
    /// Who has it, and with which records; one that is not named for it is out of date.
    pub(crate) copies: Vec<(Host, String)>,
    /// What BIND says to Unbound instead.
    pub(crate) for_unbound: Option<String>,
}

impl Split {
    /// What `host` says in place of a copy.
    fn text(&self, host: Host, records: &str) -> String {
        let others = self.servers.iter().filter(|server| **server != host);
        others.fold(heading(host), |text, server| {
            text + &format!("@ IN NS ns-{}.example.\n", server.name())
        }) + records
    }

    /// Writes a copy of it; returns the file.
    pub(crate) fn write(&self, host: Host, records: &str, home: &Path) -> PathBuf {
        let file = home.join(format!("zones-{}/{}.zone", host.name(), self.apex));
        fs::write(&file, self.text(host, records)).unwrap();
        file
    }

    /// Gives all copies to their servers; returns the registry's lines.
    fn serve(&self, served: &mut Served, home: &Path) -> String {
        for (host, records) in &self.copies {
            let for_unbound = self.for_unbound.as_ref().filter(|_| *host == Host::Bind);
            let for_unbound = for_unbound.map(|records| {
                let file = home.join(format!("zones-bind/{}.for-unbound", self.apex));
                fs::write(&file, self.text(*host, records)).unwrap();
                file
            });
            served.zones.get_mut(host).unwrap().push(ZoneFile {
                apex: self.apex.to_owned(),
                file: self.write(*host, records, home),
                is_signed: false,
                is_hashed: false,
                own_key: None,
                for_unbound,
            });
        }
        let servers = self.servers.iter();
        servers
            .map(|server| format!("{}. IN NS ns-{}.example.\n", self.apex, server.name()))
            .collect()
    }
}

/// Writes and signs the zones of all cases for `hosts`, and the registry's, which delegates the zones of `hostile` to our own
/// server too.
pub(crate) fn write(
    cases: &[Case],
    hosts: &[Host],
    hostile: &[Case],
    splits: &[Split],
    home: &Path,
) -> Served {
    let mut served = Served::default();
    // Signing is a process for each zone.
    let written: Vec<(Host, Vec<ZoneFile>, String)> = std::thread::scope(|scope| {
        let threads: Vec<_> = hosts
            .iter()
            .map(|host| scope.spawn(|| write_host(cases, *host, home)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let mut delegations = String::new();
    for (host, zones, lines) in written {
        served.zones.insert(host, zones);
        delegations.push_str(&lines);
    }
    for split in splits {
        delegations.push_str(&split.serve(&mut served, home));
    }
    let mut all = hosts.to_vec();
    if !hostile.is_empty() {
        all.push(Host::Hostile);
    }
    for case in hostile {
        let apex = case.apex(Host::Hostile);
        let _infallible = writeln!(delegations, "{apex}. IN NS ns-hostile.example.");
    }
    let (zones, anchor) = write_registry(&all, &delegations, home);
    served.zones.insert(Host::Registry, zones);
    served.anchor = anchor;
    served.key = signing::key_of_root(&home.join("zones-registry"));
    served
}

/// The zones of one server, and the registry's lines about them.
fn write_host(cases: &[Case], host: Host, home: &Path) -> (Host, Vec<ZoneFile>, String) {
    let directory = home.join(format!("zones-{}", host.name()));
    fs::create_dir_all(&directory).unwrap();
    let mut zones = Vec::new();
    let mut lines = String::new();
    let mut reverse = heading(host);
    for (number, case) in cases.iter().enumerate() {
        for (router, names) in case.routers.iter().enumerate() {
            let router = router + 1;
            if let Some(alias) = names.strip_prefix("CNAME ") {
                let _infallible = writeln!(
                    reverse,
                    "{router}.{number} IN CNAME {}",
                    case.fill(alias, host)
                );
                continue;
            }
            for name in names.split(' ').filter(|name| !name.is_empty()) {
                let _infallible = writeln!(
                    reverse,
                    "{router}.{number} IN PTR {}",
                    case.fill(name, host)
                );
            }
        }
        let apex = case.apex(host);
        let name = host.name();
        let servers: &[&str] = match case.delegation {
            Delegation::Right | Delegation::Lame => &["ns-%s"],
            Delegation::HalfLame => &["ns-not-%s", "ns-%s"],
            Delegation::Dead => &["ns-nobody"],
            Delegation::Inside => &["ns-inside"],
        };
        for server in servers {
            let _infallible = writeln!(
                lines,
                "{apex}. IN NS {}.example.",
                server.replace("%s", name)
            );
        }
        let text = heading(host) + &case.fill(&case.records, host);
        let (zone, ds) = signing::write(&apex, &text, case.signing, host, &directory);
        lines.push_str(&ds);
        if !matches!(case.delegation, Delegation::Lame) {
            zones.push(zone);
        }
    }
    let apex = format!("{}.240.in-addr.arpa", host.block());
    zones.push(signing::write(&apex, &reverse, Signing::None, host, &directory).0);
    (host, zones, lines)
}

fn write_registry(hosts: &[Host], delegations: &str, home: &Path) -> (Vec<ZoneFile>, String) {
    let directory = home.join("zones-registry");
    fs::create_dir_all(&directory).unwrap();
    let mut example = heading(Host::Registry) + delegations;
    let mut root = heading(Host::Registry) + "example. IN NS ns-registry.example.\n";
    for host in hosts.iter().chain([&Host::Registry]) {
        let (name, address) = (host.name(), host.address());
        let _infallible = writeln!(example, "ns-{name} IN A {address}");
        let _infallible = writeln!(root, "ns-{name}.example. IN A {address}");
    }
    for host in hosts {
        let _infallible = writeln!(
            root,
            "{}.240.in-addr.arpa. IN NS ns-{}.example.",
            host.block(),
            host.name()
        );
    }
    let _infallible = writeln!(example, "ns-nobody IN A {NOBODY}");
    for (host, other) in hosts.iter().zip(hosts.iter().cycle().skip(1)) {
        let (name, address) = (host.name(), other.address());
        let _infallible = writeln!(example, "ns-not-{name} IN A {address}");
    }
    for inside in ["127.0.0.1", "10.0.0.53", "169.254.169.254", "192.168.1.1"] {
        let _infallible = writeln!(example, "ns-inside IN A {inside}");
    }
    for inside in [
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::1",
    ] {
        let _infallible = writeln!(example, "ns-inside IN AAAA {inside}");
    }
    let (example, ds) = signing::write(
        "example",
        &example,
        Signing::Good,
        Host::Registry,
        &directory,
    );
    root.push_str(&ds);
    let (root, anchor) = signing::write("", &root, Signing::Good, Host::Registry, &directory);
    (vec![root, example], anchor.trim().to_owned())
}
