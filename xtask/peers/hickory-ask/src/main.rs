//! Asks many questions by `hickory-resolver`, a bounded number at a time: `hickory-ask SERVER AT-A-TIME < questions`.
//!
//! Questions are lines such as `SRV _edge._tcp.isp.example`; answers are lines `TYPE NAME: RECORD, …`.

use std::io::{BufRead, Write};

use futures_util::{StreamExt, stream};
use hickory_resolver::Resolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};

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
