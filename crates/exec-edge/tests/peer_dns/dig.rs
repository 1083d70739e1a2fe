//! What the servers themselves say, as BIND's `dig` reads it: the expectation that discovery's is built on.

use std::fs;
use std::path::Path;

use edge_lab::lab::Lab;
use edge_lab::network::PartyId;
use edge_lab::party::PartyNamespace;

use crate::place::Host;
use crate::zones::{Case, Delegation};

/// A question and its answer, as in [`Case::answers`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    name: String,
    kind: String,
    status: String,
    records: Vec<String>,
}

/// What the cases say that `host` says: their own questions, and the names of all routers.
pub(crate) fn expected(cases: &[Case], host: Host) -> Vec<Said> {
    let mut all = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let fill = |text: &str| case.fill(text, host).to_lowercase();
        for (router, names) in case.routers.iter().enumerate() {
            // Servers may or may not follow an alias into another of their zones.
            let (kind, records) = match case.routers[router].strip_prefix("CNAME ") {
                Some(alias) => ("CNAME", vec![format!("CNAME {}", fill(alias))]),
                None => {
                    let names = names.split(' ').filter(|name| !name.is_empty());
                    let mut records: Vec<String> =
                        names.map(|name| format!("PTR {}", fill(name))).collect();
                    records.sort();
                    ("PTR", records)
                }
            };
            all.push(Said {
                name: format!("{}.{number}.{}.240.in-addr.arpa.", router + 1, host.block()),
                kind: kind.to_owned(),
                status: if records.is_empty() {
                    "NXDOMAIN"
                } else {
                    "NOERROR"
                }
                .to_owned(),
                records,
            });
        }
        if case.delegation == Delegation::Lame {
            all.push(Said {
                name: fill("@@."),
                kind: "SOA".to_owned(),
                status: "REFUSED".to_owned(),
                records: Vec::new(),
            });
        }
        for (name, kind, status, records) in &case.answers {
            let mut records: Vec<String> = records
                .iter()
                .map(|record| {
                    let (kind, data) = record.split_once(' ').unwrap();
                    format!("{kind} {}", fill(data))
                })
                .collect();
            records.sort();
            all.push(Said {
                name: fill(name),
                kind: (*kind).to_owned(),
                status: (*status).to_owned(),
                records,
            });
        }
    }
    all
}

/// The records with which `host` answers one question from `party`.
pub(crate) fn records(party: &PartyNamespace, host: Host, name: &str, kind: &str) -> Vec<String> {
    let mut dig = party.command("dig").unwrap();
    let server = format!("@{}", host.address());
    let output = dig
        .args([
            &server, "+nocmd", "+nostats", "+tries=2", "+time=5", name, kind,
        ])
        .output()
        .unwrap();
    let said = read(&String::from_utf8(output.stdout).unwrap());
    said.into_iter().flat_map(|said| said.records).collect()
}

/// Asks `host` each of these questions from the cloud; what it says, in the same order.
pub(crate) fn ask(lab: &Lab, host: Host, questions: &[Said], home: &Path) -> Vec<Said> {
    let file = home.join(format!("questions-{}", host.name()));
    let lines: Vec<String> = questions
        .iter()
        .map(|said| format!("{} {}", said.name, said.kind))
        .collect();
    fs::write(&file, lines.join("\n") + "\n").unwrap();
    let output = lab
        .party(PartyId::Cloud)
        .unwrap()
        .command("dig")
        .unwrap()
        .arg(format!("@{}", host.address()))
        .args([
            "+norecurse",
            "+nocmd",
            "+nostats",
            "+tries=2",
            "+time=5",
            "-f",
        ])
        .arg(&file)
        .output()
        .unwrap_or_else(|error| panic!("dig does not start ({error}); it is in bind9-dnsutils"));
    read(&String::from_utf8(output.stdout).unwrap())
}

/// Reads dig's answers.
fn read(text: &str) -> Vec<Said> {
    let mut all: Vec<Said> = Vec::new();
    let mut section = "";
    for line in text.lines() {
        if let Some(header) = line.strip_prefix(";; ->>HEADER<<- ") {
            let status = header
                .split("status: ")
                .nth(1)
                .and_then(|rest| rest.split(',').next());
            all.push(Said {
                name: String::new(),
                kind: String::new(),
                status: status.unwrap_or_default().to_owned(),
                records: Vec::new(),
            });
        } else if let Some(heading) = line.strip_prefix(";; ") {
            section = heading;
        }
        let Some(said) = all.last_mut() else { continue };
        let words: Vec<&str> = line.split_whitespace().collect();
        match (section, words.as_slice()) {
            ("QUESTION SECTION:", [name, "IN", kind]) => {
                said.name = name.trim_start_matches(';').to_lowercase();
                said.kind = (*kind).to_owned();
            }
            ("ANSWER SECTION:", [_, _, "IN", kind, data @ ..]) => {
                said.records
                    .push(format!("{kind} {}", data.join(" ").to_lowercase()));
                said.records.sort();
            }
            _ => {}
        }
    }
    all
}
