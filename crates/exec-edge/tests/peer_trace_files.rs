//! Files that other tools wrote of traces in the lab, against what those tools say themselves.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use edge_trace_files::{Format, Import, Limits, PathRecord, read};
use edge_types::{Hop, PathEnd};
use program::{program, run, scenario};

/// How long a lab with its traces may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs a shell script at the cloud of the smallest lab, in `directory`, where a file `targets` is.
fn in_lab(directory: &Path, script: &str) {
    let file = scenario(directory, "two-continents.toml", |text| {
        text.replace("seed = 7", "seed = 7\ndefaults = { icmp = \"unlimited\" }")
    });
    let targets = run(program(&["lab", "show", "--targets"]).arg(&file), PATIENCE);
    fs::write(directory.join("targets"), targets.out).unwrap();
    let script = format!("set -e; cd \"$1\"\n{script}");
    let mut command = program(&["lab", "run"]);
    command
        .arg(&file)
        .args(["--at", "cloud", "--", "sh", "-c", &script, "sh"])
        .arg(directory);
    let answer = run(&mut command, PATIENCE);
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""));
}

fn import(file: &Path, format: Format) -> Import {
    let bytes = fs::read(file).unwrap();
    assert_eq!(Format::detect(&bytes), Some(format), "{}", file.display());
    let import = read(&bytes, None, &Limits::default()).unwrap();
    assert_eq!(import.log.lost, 0, "{:?}", import.log.first);
    import
}

/// A record with round trips as precise as scamper's JSON: to the microsecond.
fn rounded(mut record: PathRecord) -> PathRecord {
    let round = |rtt: &mut Option<edge_types::Rtt>| {
        if let Some(rtt) = rtt {
            rtt.0 = Duration::from_micros(u64::try_from(rtt.0.as_micros()).unwrap());
        }
    };
    for hop in &mut record.path.hops {
        if let Hop::Reply(reply) = hop {
            round(&mut reply.rtt);
        }
    }
    record
        .path
        .further
        .iter_mut()
        .for_each(|(_, reply)| round(&mut reply.rtt));
    record
}

/// Methods that Debian's scamper survives here (with TCP it crashes), both IP versions, more than one probe per hop.
#[test]
fn peer_sc_warts2json_reads_the_same_in_scampers_files() {
    let directory = tempfile::tempdir().unwrap();
    let methods = [
        ("udp-paris", "-P udp-paris -q 2 -Q -w 1"),
        ("icmp-paris", "-P icmp-paris -w 1"),
        ("udp", "-P udp -w 1"),
    ];
    let mut script = String::new();
    for (name, options) in methods {
        script += &format!(
            "scamper -p 500 -O warts -o {name}.warts -f targets -c 'trace {options} -g 3'\n\
             sc_warts2json {name}.warts > {name}.json\n"
        );
    }
    in_lab(directory.path(), &script);
    let mut replies = 0;
    for (name, _) in methods {
        let file = |extension| directory.path().join(format!("{name}.{extension}"));
        let ours = import(&file("warts"), Format::Warts);
        let theirs = import(&file("json"), Format::ScamperJson);
        let targets = fs::read_to_string(directory.path().join("targets")).unwrap();
        assert_eq!(ours.records.len(), targets.lines().count(), "{name}");
        assert_eq!(ours.log.left_out, theirs.log.left_out, "{name}");
        let ours: Vec<_> = ours.records.into_iter().map(rounded).collect();
        let theirs: Vec<_> = theirs.records.into_iter().map(rounded).collect();
        assert_eq!(ours, theirs, "{name}");
        replies += ours
            .iter()
            .map(|record| record.path.replies().count())
            .sum::<usize>();
    }
    assert!(replies > 20, "there was something to compare");
}

/// Who answered at each distance, by target.
fn hops(import: &Import) -> BTreeMap<IpAddr, (Vec<Option<IpAddr>>, PathEnd)> {
    let hop = |hop: &Hop| match hop {
        Hop::Reply(reply) => Some(reply.address),
        Hop::NoReply => None,
    };
    let records = import.records.iter().map(|record| &record.path);
    records
        .map(|path| (path.target, (path.hops.iter().map(hop).collect(), path.end)))
        .collect()
}

#[test]
fn peer_traceroutes_text_tells_the_path_that_scamper_saw() {
    let directory = tempfile::tempdir().unwrap();
    in_lab(
        directory.path(),
        "while read target; do\n\
         traceroute -n -U -p 33434 --sport=40000 -q 1 -N 1 -w 1 -m 12 $target >> text\n\
         scamper -p 500 -O warts -o one.warts -c 'trace -P udp-paris -s 40000 -d 33434 -q 1 -w 1 -g 6 -m 12' -i $target\n\
         cat one.warts >> warts; done < targets\n",
    );
    let ours = import(&directory.path().join("text"), Format::Traceroute);
    let theirs = import(&directory.path().join("warts"), Format::Warts);
    let answering = |seen: BTreeMap<IpAddr, (Vec<Option<IpAddr>>, PathEnd)>| {
        let until_reached = seen
            .into_iter()
            .filter(|(_, (_, end))| *end == PathEnd::Reached);
        until_reached.collect::<BTreeMap<_, _>>()
    };
    let (ours, theirs) = (answering(hops(&ours)), answering(hops(&theirs)));
    assert!(!ours.is_empty(), "some target answers");
    assert_eq!(ours, theirs);
}

#[test]
fn peer_nmaps_xml_tells_the_targets_of_the_lab() {
    let directory = tempfile::tempdir().unwrap();
    in_lab(
        directory.path(),
        "grep -v : targets > targets4\n\
         nmap -n -sn -PE -PU33434 --traceroute --max-retries 2 -iL targets4 -oX scan.xml > /dev/null\n",
    );
    let nmap = import(&directory.path().join("scan.xml"), Format::Nmap);
    assert_eq!(nmap.records.len(), 4, "targets that answer");
    for record in &nmap.records {
        // The lab's device has no gateway, from which nmap concludes that every target is one hop away.
        let path = &record.path;
        assert_eq!(path.end, PathEnd::Reached, "{}", path.target);
        let (_, reply) = path.replies().last().unwrap();
        assert!(
            reply
                .rtt
                .is_some_and(|rtt| (10.0..200.0).contains(&rtt.as_ms())),
            "{reply:?}"
        );
    }
}
