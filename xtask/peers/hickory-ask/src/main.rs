//! Asks many questions by `hickory-resolver`, a bounded number at a time: `hickory-ask SERVER AT-A-TIME [paths] < questions`.
//!
//! Questions are lines such as `SRV _edge._tcp.isp.example`; answers are lines `TYPE NAME: RECORD, …`. With `paths` they are
//! addresses of routers, each path after an empty line, and answers the entry points of each path, after a line `path`.

use std::collections::BTreeSet;
use std::io::{BufRead, Read, Write};
use std::net::IpAddr;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use hickory_resolver::Resolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

type Problem = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Problem> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().ok_or("which server?")?.parse()?;
    let at_a_time: usize = arguments.next().ok_or("how many at a time?")?.parse()?;
    let config = ResolverConfig::from_parts(None, vec![], vec![NameServerConfig::udp_and_tcp(server)]);
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder.options_mut().max_active_requests = at_a_time;
    builder.options_mut().cache_size = 20_000;
    let resolver = builder.build()?;
    if arguments.next().is_some() {
        return find(&resolver).await;
    }
    let mut questions = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (kind, name) = line.split_once(' ').ok_or("a question is TYPE NAME")?;
        let kind: RecordType = kind.parse()?;
        questions.push((kind, Name::from_ascii(format!("{name}."))?));
    }
    let mut answers = stream::iter(questions)
        .map(|(kind, name)| {
            let resolver = &resolver;
            async move {
                let found = resolver.lookup(name.clone(), kind).await;
                (kind, name, found)
            }
        })
        .buffer_unordered(at_a_time);
    let mut output = std::io::stdout().lock();
    while let Some((kind, name, found)) = answers.next().await {
        let name = name.to_ascii();
        let name = name.trim_end_matches('.');
        let text = match found {
            Ok(found) => {
                let records: Vec<String> = found
                    .answers()
                    .iter()
                    .filter(|record| record.record_type() == kind)
                    .map(|record| record.data.to_string().trim_end_matches('.').to_owned())
                    .collect();
                records.join(", ")
            }
            Err(error) => format!("! {error}"),
        };
        writeln!(output, "{kind} {name}: {text}")?;
    }
    Ok(())
}

/// Names, then services of the domains that they are in, then addresses.
async fn find(resolver: &Resolver<TokioRuntimeProvider>) -> Result<(), Problem> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let mut output = std::io::stdout().lock();
    for path in text.split("\n\n") {
        writeln!(output, "path")?;
        let routers: Vec<IpAddr> = path.lines().map(str::parse).collect::<Result<_, _>>()?;
        let questions = routers.into_iter().map(|router| (Name::from(router), RecordType::PTR));
        let names = ask(resolver, questions).await;
        let domains = names.iter().filter_map(|found| match found {
            RData::PTR(name) => Some(name.0.trim_to(2)),
            _ => None,
        });
        let domains: BTreeSet<Name> = domains.collect();
        let services = domains.into_iter().map(|domain| {
            let service = Name::from_ascii("_edge._tcp").and_then(|name| name.append_domain(&domain));
            service.map(|service| (service, RecordType::SRV))
        });
        let sites = ask(resolver, services.collect::<Result<Vec<_>, _>>()?).await;
        let targets = sites.iter().filter_map(|found| match found {
            RData::SRV(site) => Some(site.target.clone()),
            _ => None,
        });
        let targets: BTreeSet<Name> = targets.collect();
        let mut addresses: stream::FuturesUnordered<_> = targets
            .into_iter()
            .map(|target| async {
                let found = ask(resolver, [(target.clone(), RecordType::A)]).await;
                (target, found)
            })
            .collect();
        while let Some((target, found)) = addresses.next().await {
            if !found.is_empty() {
                writeln!(output, "{} {found:?}", target.to_ascii().trim_end_matches('.'))?;
            }
        }
    }
    Ok(())
}

async fn ask(
    resolver: &Resolver<TokioRuntimeProvider>,
    questions: impl IntoIterator<Item = (Name, RecordType)>,
) -> Vec<RData> {
    let lookups = questions.into_iter().map(|(name, kind)| resolver.lookup(name, kind));
    let found = join_all(lookups).await.into_iter().flatten();
    found.flat_map(|found| found.answers().iter().map(|record| record.data.clone()).collect::<Vec<_>>()).collect()
}
