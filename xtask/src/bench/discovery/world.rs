//! The network and the zones of the bench, and what the true answers are.
//!
//! 100 providers hold 500 reverse zones of ten routers each. As is usual, the servers of a reverse zone have names in the
//! provider's own zone, so that their addresses do not come along. A fifth of the reverse zones is lame: some have no server that
//! answers, others one of two.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Providers.
const PROVIDERS: u32 = 100;
/// Reverse zones, /24 each.
const REVERSE_ZONES: u32 = 500;
/// Routers with a name in each.
const ROUTERS: u32 = 10;
/// Every fifth reverse zone is lame.
const LAME_EVERY: u32 = 5;
/// Points of presence of a provider: a zone that may have had servers of its own, but has none.
const POPS: u32 = 5;

/// 80 ms from the cloud to the name servers and back: two access links of 0.2 ms, and this.
pub(super) const SCENARIO: &str = r#"
format = 1
name = "discovery"
seed = 1
cloud = { router = "near", addresses = ["240.0.0.10"], host = "app.cloud.example" }
dns = { router = "near", addresses = ["240.0.0.53"] }
chain = { router = "near", addresses = ["240.0.0.80"] }
routers = [{ id = "near", addresses = ["240.0.1.1"] }, { id = "far", addresses = ["240.0.1.2"] }]
links = [{ a = "near", b = "far", delay_ms = 39.6 }]
clients = [{ prefix = "240.16.0.0/16", router = "far" }]
"#;

/// The root's server.
pub(super) const ROOT: &str = "240.16.0.1";
/// Any address of the name servers' host.
pub(super) const NAME_SERVERS: &str = ROOT;
/// What all of them are in.
pub(super) const PREFIX: &str = "240.16.0.0/16";

/// A name server of its own.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) addresses: Vec<String>,
    /// Apex, with final dot, and text.
    pub(super) zones: Vec<(String, String)>,
}

/// A question as it is put to programs: type and name, without final dot.
pub(super) type Question = (&'static str, String);

/// All of it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) servers: Vec<Server>,
    /// Addresses that take questions and answer none.
    pub(super) silent: Vec<String>,
    /// In the order in which everybody is asked: shuffled, since neighbours share a server.
    pub(super) questions: Vec<Question>,
    /// What can be answered: the records, sorted, or none.
    pub(super) truth: BTreeMap<Question, BTreeSet<String>>,
}

/// How a reverse zone is lame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lame {
    No,
    /// Both servers refuse.
    Refuses,
    /// Neither answers.
    Silent,
    OneRefuses,
    OneSilent,
}

fn lameness(zone: u32) -> Lame {
    if !zone.is_multiple_of(LAME_EVERY) {
        return Lame::No;
    }
    match zone / LAME_EVERY % 5 {
        0 => Lame::Refuses,
        1 => Lame::Silent,
        2 | 3 => Lame::OneRefuses,
        _ => Lame::OneSilent,
    }
}

/// A zone: its apex, with final dot, and text.
pub(super) fn zone(apex: &str, records: &str) -> (String, String) {
    let soa = "@ 300 IN SOA ns.example. admin.example. 1 3600 600 86400 60";
    (
        apex.to_owned(),
        format!("$ORIGIN {apex}\n$TTL 300\n{soa}\n{records}"),
    )
}

/// Who holds a reverse zone.
pub(super) const fn provider_of(zone: u32) -> u32 {
    zone % PROVIDERS + 1
}

/// The address of a router in a reverse zone.
pub(super) fn router_address(zone: u32, router: u32) -> String {
    format!("240.{}.{}.{router}", 100 + zone / 250, zone % 250)
}

/// Makes it.
pub(super) fn make() -> World {
    let mut top = "@ NS a.nic.example.\na.nic.example. A 240.16.0.3\n".to_owned();
    let mut reverse = "@ NS a.in-addr-servers.arpa.\n".to_owned();
    let mut leaves = Vec::new();
    let (mut refusing, mut silent) = (Vec::new(), Vec::new());
    let mut questions = Vec::new();
    let mut truth = BTreeMap::new();
    for provider in 1..=PROVIDERS {
        provider_zone(provider, &mut top, &mut leaves, &mut questions, &mut truth);
    }
    for number in 0..REVERSE_ZONES {
        let provider = provider_of(number);
        let apex = format!("{}.{}.240.in-addr.arpa", number % 250, 100 + number / 250);
        let lame = lameness(number);
        let own = |index: u32| format!("ns{index}.isp{provider}.example.");
        let dead = |kind: char, index: u32| format!("{kind}{number}-{index}.example.");
        let names = match lame {
            Lame::No => [own(1), own(2)],
            Lame::Refuses => [dead('r', 1), dead('r', 2)],
            Lame::Silent => [dead('s', 1), dead('s', 2)],
            Lame::OneRefuses => [own(1), dead('r', 2)],
            Lame::OneSilent => [own(1), dead('s', 2)],
        };
        let mut records = String::new();
        for name in &names {
            let _infallible = writeln!(reverse, "{apex}. NS {name}");
            let _infallible = writeln!(records, "@ NS {name}");
            let (list, octet) = match name.as_bytes().first() {
                Some(b'r') => (&mut refusing, 3),
                Some(b's') => (&mut silent, 4),
                _ => continue,
            };
            list.push(format!("240.16.{octet}.{}", list.len() + 1));
            if let Some(address) = list.last() {
                let _infallible = writeln!(top, "{name} A {address}");
            }
        }
        for router in 1..=ROUTERS {
            let host = format!("r{router}.pop{}.isp{provider}.example", number / PROVIDERS);
            let _infallible = writeln!(records, "{router} PTR {host}.");
            let question = ("PTR", format!("{router}.{apex}"));
            if !matches!(lame, Lame::Refuses | Lame::Silent) {
                truth.insert(question.clone(), BTreeSet::from([host]));
            }
            questions.push(question);
        }
        leaves.push(zone(&format!("{apex}."), &records));
    }
    let both = (1..=2).flat_map(|octet| {
        (1..=PROVIDERS).map(move |provider| format!("240.16.{octet}.{provider}"))
    });
    let servers = vec![
        Server {
            name: "root",
            addresses: vec![ROOT.to_owned()],
            zones: vec![zone(
                ".",
                "@ NS a.root-server.\na.root-server. A 240.16.0.1\n\
                 in-addr.arpa. NS a.in-addr-servers.arpa.\na.in-addr-servers.arpa. A 240.16.0.2\n\
                 example. NS a.nic.example.\na.nic.example. A 240.16.0.3\n",
            )],
        },
        Server {
            name: "reverse",
            addresses: vec!["240.16.0.2".to_owned()],
            zones: vec![zone("in-addr.arpa.", &reverse)],
        },
        Server {
            name: "top",
            addresses: vec!["240.16.0.3".to_owned()],
            zones: vec![zone("example.", &top)],
        },
        Server {
            name: "providers",
            addresses: both.collect(),
            zones: leaves,
        },
        Server {
            name: "lame",
            addresses: refusing,
            zones: vec![zone("lame.test.", "@ NS ns\nns A 240.16.0.1\n")],
        },
    ];
    shuffle(&mut questions);
    World {
        servers,
        silent,
        questions,
        truth,
    }
}

/// Every second provider has entry points; no point of presence has.
fn provider_zone(
    provider: u32,
    top: &mut String,
    leaves: &mut Vec<(String, String)>,
    questions: &mut Vec<Question>,
    truth: &mut BTreeMap<Question, BTreeSet<String>>,
) {
    let domain = format!("isp{provider}.example");
    let mut records = String::new();
    for server in 1..=2 {
        let name = format!("ns{server}.{domain}.");
        let address = format!("240.16.{server}.{provider}");
        let _infallible = write!(top, "{domain}. NS {name}\n{name} A {address}\n");
        let _infallible = write!(records, "@ NS {name}\n{name} A {address}\n");
    }
    let mut sites = BTreeSet::new();
    if provider % 2 == 0 {
        for site in ["a", "b"] {
            let target = format!("{site}.edge.{domain}");
            let _infallible = write!(
                records,
                "_edge._tcp SRV 10 1 443 {target}.\n{target}. A 240.32.0.1\n"
            );
            sites.insert(format!("10 1 443 {target}"));
        }
    }
    leaves.push(zone(&format!("{domain}."), &records));
    let mut ask = |name: String, records| {
        truth.insert(("SRV", name.clone()), records);
        questions.push(("SRV", name));
    };
    ask(format!("_edge._tcp.{domain}"), sites);
    for pop in 0..POPS {
        ask(format!("_edge._tcp.pop{pop}.{domain}"), BTreeSet::new());
    }
}

/// By a fixed seed (`SplitMix64`, Steele et al., OOPSLA'14).
fn shuffle(questions: &mut [Question]) {
    let mut state = 1u64;
    for index in (1..questions.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let other = (value ^ (value >> 31)) % (index as u64 + 1);
        questions.swap(index, usize::try_from(other).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_zones_is_lame_and_some_of_it_answerable() {
        let world = make();
        let names = |questions: &mut dyn Iterator<Item = &Question>, kind| {
            questions.filter(|question| question.0 == kind).count()
        };
        assert_eq!(names(&mut world.questions.iter(), "PTR"), 5000);
        assert_eq!(names(&mut world.truth.keys(), "PTR"), 4600);
        assert_eq!(names(&mut world.questions.iter(), "SRV"), 600);
        assert!(world.silent.len() < 255 && world.servers[4].addresses.len() < 255);
        let asked: BTreeSet<&Question> = world.questions.iter().collect();
        assert_eq!(asked.len(), world.questions.len());
    }
}
