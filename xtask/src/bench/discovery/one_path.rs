//! One new path: how soon the entry points of its providers are known, addresses, keys and wildcards checked.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::row;
use super::servers::Lab;
use super::tools;
use super::world::{PREFIX, ROOT, provider_of, router_address};
use crate::shell;

pub(super) const CASE: &str = "one-path";
pub(super) const CONDITIONS: &str = "15 routers of five providers with two entry points each, 80 ms to every name server; zones \
    above those of providers are known from a path before, and nothing below. Peers ask for names, then for services, then \
    for addresses, and check nothing";
/// Four round trips and 100 ms.
const GOAL_MS: f64 = 4.0 * 80.0 + 100.0;
/// Reverse zones of the path before, and of the new one: none is lame, and their providers have entry points.
const PATHS: [[u32; 5]; 2] = [[17, 19, 21, 23, 27], [1, 3, 7, 9, 13]];
const ROUTERS: u32 = 3;
/// What the programs print where the new path begins.
const BEGIN: &str = "path";

pub(super) fn run(runs: u32, lab: &Lab, folder: &Path) -> Result<Vec<Value>> {
    let text = PATHS.map(|zones| {
        let routers = zones
            .into_iter()
            .flat_map(|zone| (1..=ROUTERS).map(move |router| router_address(zone, router)));
        routers
            .map(|address| format!("{address}\n"))
            .collect::<String>()
    });
    fs::write(folder.join("paths"), text.join("\n")).context("writing the paths")?;
    let ask = shell::target().join("release/examples/ask");
    let hickory = shell::target().join("peers/release/hickory-ask");
    let programs = [
        (
            "directly",
            format!(
                "{} --paths --direct --allow {PREFIX} --allow 240.0.0.0/4 {ROOT} < paths",
                ask.display()
            ),
        ),
        (
            "by-resolver",
            format!(
                "{} --paths --allow 240.0.0.0/4 127.0.0.1 < paths",
                ask.display()
            ),
        ),
        (
            "hickory-resolver",
            format!("{} 127.0.0.1 1000 paths < paths", hickory.display()),
        ),
        ("adnshost", ADNSHOST.to_owned()),
    ];
    let mut samples = programs.each_ref().map(|_| Vec::new());
    for run in 1..=runs {
        for ((name, script), samples) in programs.iter().zip(&mut samples) {
            let _resolver = lab.cold_resolver()?;
            let lines = tools::lines(lab, script)?;
            let time = all_found(&lines);
            shell::say(&format!(
                "  run {run} of {runs}: {name:<18} all found after {time:>5.0} ms"
            ));
            samples.push(time);
        }
    }
    let [directly, by_resolver, hickory, adnshost] = samples;
    let peers = [("hickory-resolver", hickory), ("adnshost", adnshost)];
    let goal = ("ms", "lower", Some(GOAL_MS));
    Ok([("directly", directly), ("by-resolver", by_resolver)]
        .iter()
        .map(|(name, ours)| row(&format!("{CASE}/{name}"), goal, ours, &peers))
        .collect())
}

/// From the new path's beginning to its last entry point, in ms.
fn all_found(lines: &[(Duration, String)]) -> f64 {
    let begin = lines.iter().rposition(|(_, line)| line == BEGIN);
    let lines = begin.map_or(&[][..], |begin| &lines[begin..]);
    let mut missing: BTreeSet<String> = PATHS[1]
        .into_iter()
        .flat_map(|zone| {
            ["a", "b"].map(|site| format!("{site}.edge.isp{}.example", provider_of(zone)))
        })
        .collect();
    for (time, line) in lines {
        missing.remove(line.split([' ', ':']).next().unwrap_or_default());
        if missing.is_empty() {
            return (*time - lines[0].0).as_secs_f64() * 1e3;
        }
    }
    f64::INFINITY
}

/// It takes names in the order of the address's octets reversed, and one type at a time.
const ADNSHOST: &str = r#"
adns() { stdbuf -oL adnshost --config 'nameserver 127.0.0.1' -a -Qq -Qa -f; }
find() {
  awk -F. 'BEGIN { print \"-tptr-\" } { print \"- \" \$4 \".\" \$3 \".\" \$2 \".\" \$1 \".in-addr.arpa\" }' | adns |
  awk '\$2 == \"PTR\" { n = split(\$3, l, \".\"); z[l[n-1] \".\" l[n]] } END { print \"-tsrv-\"; for (i in z) print \"- _edge._tcp.\" i }' | adns |
  awk '\$2 == \"SRV\" { t[\$6] } END { print \"-ta\"; for (i in t) print \"- \" i }' | adns
}
sed '/^\$/,\$d' paths | find; echo path; sed '1,/^\$/d' paths | find
"#;
