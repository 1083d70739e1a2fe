//! Asks many questions and prints each answer as it comes.
//!
//! ```text
//! ask [--direct] [--allow PREFIX]… [--anchors FILE] [--at-a-time N] [--per-second N] [--paths|--names] SERVER… < questions
//! ```
//!
//! Questions are lines such as `PTR 4.3.2.1.in-addr.arpa` and `SRV _edge._tcp.isp.example`. With `--paths` they are addresses
//! of routers, each path after an empty line, and what is printed are the entry points found on each path, after a line `path`.
//! With `--names` they are addresses of routers too, and printed is what became of each of their names, separated by tabs: the address,
//! `led-to-zones` or `refused-` and why, and the name, `-` if it cannot be shown; or `no-name` or `unanswered` in place of both.
//! With `--direct` the servers are those of the root, and servers outside the public address space are asked only where
//! `--allow` says so.

use std::io::{BufRead, Read, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use edge_discovery::{
    AddressOutcome, Answer, AnswerName, Discovery, DiscoveryConfig, HopSighting, IepCandidate,
    Limits, Lookup, NameRefusal, Question, RecordData, RecordKind,
};
use edge_ports::{Clock, NameLookup, SystemClock};
use edge_resolver::{DNS_PORT, Resolver, ResolverConfig, drive, random_label};
use edge_types::AddressPolicy;
use futures_util::{StreamExt, stream};

/// Questions begun before the first of them get their turn.
const BEGUN_AT_ONCE: usize = 64;

type Problem = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Problem> {
    let mut is_direct = false;
    let mut are_paths = false;
    let mut are_names = false;
    let mut at_a_time = None;
    let mut per_second = 20_000;
    let mut anchor = None;
    let mut allowed = Vec::new();
    let mut servers: Vec<SocketAddr> = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--direct" => is_direct = true,
            "--paths" => are_paths = true,
            "--names" => are_names = true,
            "--allow" => {
                allowed.push(arguments.next().ok_or("--allow takes a prefix")?.parse()?);
            }
            "--anchors" => {
                let file = arguments.next().ok_or("--anchors takes a file")?;
                anchor = Some(std::fs::read_to_string(file)?.parse()?);
            }
            "--at-a-time" => {
                let number = arguments.next().ok_or("--at-a-time takes a number")?;
                at_a_time = Some(number.parse::<usize>()?);
            }
            "--per-second" => {
                per_second = arguments
                    .next()
                    .ok_or("--per-second takes a number")?
                    .parse()?;
            }
            server => servers.push((server.parse::<std::net::IpAddr>()?, DNS_PORT).into()),
        }
    }
    let policy = AddressPolicy::new(allowed);
    let config = if is_direct {
        ResolverConfig::direct(servers, policy.clone())
    } else {
        ResolverConfig {
            // A resolver that has to ask all others first needs time, and no second copy of each question; where it is busy, or
            // the first server that it asked is dead, a lot.
            first_timeout: Duration::from_secs(1),
            attempts: 5,
            ..ResolverConfig::new(servers)
        }
    };
    let (all, per_server) = match at_a_time {
        Some(all) if is_direct => (all, all.div_ceil(16)),
        Some(all) => (all, all),
        None => (config.max_in_flight, config.max_in_flight_per_server),
    };
    let resolver = Arc::new(Resolver::new(ResolverConfig {
        max_in_flight: all,
        max_in_flight_per_server: per_server,
        max_per_second: per_second,
        trust_anchor: anchor,
        ..config
    })?);

    if are_paths {
        return find(&*resolver, policy).await;
    }
    if are_names {
        return follow_names(&*resolver, policy, all).await;
    }
    let mut questions = Vec::new();
    for line in std::io::stdin().lock().lines() {
        questions.push(question(&line?)?);
    }
    // All at once: how many are under way is the resolver's business. The first are on their way while others are begun.
    let all_at_once = questions.len().max(1);
    let asked = stream::FuturesUnordered::new();
    for (number, question) in questions.into_iter().enumerate() {
        let resolver = Arc::clone(&resolver);
        asked.push(tokio::spawn(async move {
            let answer = resolver.lookup(&question).await;
            (question, answer)
        }));
        if number % BEGUN_AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut answers = asked.ready_chunks(all_at_once);
    // Whatever is there leaves at once, and together.
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    while let Some(answered) = answers.next().await {
        for answered in answered {
            let (question, answer) = answered?;
            writeln!(output, "{}", line(&question, &answer))?;
        }
        output.flush()?;
    }
    Ok(())
}

/// Finds the entry points of one path after the other.
async fn find(lookup: &dyn NameLookup, policy: AddressPolicy) -> Result<(), Problem> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let clock = SystemClock::start();
    let token = random_label()?;
    let service = DiscoveryConfig::SERVICE;
    let config = DiscoveryConfig::new(service, &token, policy, Limits::default())?;
    let mut discovery = Discovery::new(config);
    let mut output = std::io::stdout();
    for path in text.split("\n\n") {
        writeln!(output, "path")?;
        discovery.start_run(clock.monotonic());
        for (ttl, address) in (1..).zip(path.lines()) {
            let address = address.parse()?;
            let sighting = HopSighting {
                address,
                path: address,
                ttl,
            };
            discovery.observe_hop(sighting, clock.monotonic());
        }
        let parallelism = NonZeroUsize::new(256).ok_or("zero")?;
        let tell = |found: IepCandidate| {
            let _closed_pipe = writeln!(output, "{} {:?}", found.id, found.addresses);
        };
        drive(&mut discovery, lookup, &clock, parallelism, tell).await;
    }
    Ok(())
}

/// Follows the names of all addresses to zones, with no bound but the time that it takes.
async fn follow_names(
    lookup: &dyn NameLookup,
    policy: AddressPolicy,
    at_a_time: usize,
) -> Result<(), Problem> {
    let limits = Limits {
        run_time: Duration::from_mins(1),
        questions_per_run: usize::MAX,
        addresses: usize::MAX,
        names_per_address: 64,
        ..Limits::default()
    };
    let token = random_label()?;
    let config = DiscoveryConfig::new(DiscoveryConfig::SERVICE, &token, policy, limits)?;
    let mut discovery = Discovery::new(config);
    let clock = SystemClock::start();
    discovery.start_run(clock.monotonic());
    for line in std::io::stdin().lock().lines() {
        let address = line?.parse()?;
        let sighting = HopSighting {
            address,
            path: address,
            ttl: 1,
        };
        discovery.observe_hop(sighting, clock.monotonic());
    }
    let parallelism = NonZeroUsize::new(at_a_time).ok_or("--at-a-time 0")?;
    drive(&mut discovery, lookup, &clock, parallelism, |_| {}).await;
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    for found in discovery.trail().addresses {
        let address = found.address;
        let names = match found.outcome {
            AddressOutcome::Ptr(Lookup::Records(names)) => names,
            AddressOutcome::Ptr(Lookup::Absent { .. }) => {
                writeln!(output, "{address}\tno-name")?;
                continue;
            }
            _ => {
                writeln!(output, "{address}\tunanswered")?;
                continue;
            }
        };
        for name in names.names {
            let what = match &name.zones {
                Ok(_) => "led-to-zones",
                Err(NameRefusal::NotAHostName(_)) => "refused-not-a-host-name",
                Err(NameRefusal::ServiceLabel(_)) => "refused-service-label",
                Err(NameRefusal::SingleLabel) => "refused-single-label",
                Err(NameRefusal::NumericTop(_)) => "refused-numeric-top",
                Err(NameRefusal::SpecialTop(_)) => "refused-special-top",
                Err(NameRefusal::Template(_)) => "refused-template",
                Err(NameRefusal::PublicSuffix { .. }) => "refused-public-suffix",
            };
            let shown = name.name.as_ref().map_or("-", |name| name.as_str());
            writeln!(output, "{address}\t{what}\t{shown}")?;
        }
    }
    output.flush()?;
    Ok(())
}

fn question(line: &str) -> Result<Question, Problem> {
    let (kind, name) = line.split_once(' ').ok_or("a question is TYPE NAME")?;
    let kind = match kind {
        "PTR" => RecordKind::Ptr,
        "SRV" => RecordKind::Srv,
        "A" => RecordKind::A,
        "AAAA" => RecordKind::Aaaa,
        "TXT" => RecordKind::Txt,
        other => return Err(format!("no such type: {other}").into()),
    };
    Ok(Question::new(name.parse()?, kind))
}

/// `TYPE NAME: what came of it`.
fn line(question: &Question, answer: &Answer) -> String {
    let kind = format!("{:?}", question.kind).to_uppercase();
    let name = question.name.as_str();
    match answer {
        Answer::Records {
            records, security, ..
        } => {
            let records: Vec<String> = records.iter().map(record).collect();
            format!("{kind} {name}: {} ({security:?})", records.join(", "))
        }
        Answer::Absent {
            absence, security, ..
        } => format!("{kind} {name}: {absence:?} ({security:?})"),
        Answer::Unanswered(reason) => format!("{kind} {name}: {reason:?}"),
    }
}

fn record(record: &RecordData) -> String {
    let host = |name: &AnswerName| match name {
        AnswerName::Root => ".".to_owned(),
        AnswerName::Name(name) => name.to_string(),
        AnswerName::Unacceptable { why, .. } => format!("({why})"),
    };
    match record {
        RecordData::Ptr(name) => host(name),
        RecordData::Srv(srv) => format!(
            "{} {} {} {}",
            srv.priority,
            srv.weight,
            srv.port,
            host(&srv.target)
        ),
        RecordData::Address(address) => address.to_string(),
        RecordData::Txt(strings) => format!("{} strings", strings.len()),
        RecordData::Tlsa(record) => format!("{record:?}"),
    }
}
