//! From a provider's configuration to an aggregator's feed, by the commands alone.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/program.rs"]
#[expect(dead_code, reason = "helpers of other tests")]
mod program;

use std::fs;
use std::time::Duration;

use edge_ports::{Clock as _, SystemClock};
use edge_types::ChainId;
use edge_wire::listing::{WellKnown, read_feed};
use program::{program, run};

const PATIENCE: Duration = Duration::from_secs(20);
const ACCOUNT: &str = "0x00000000000000000000000000000000000000aa";

#[test]
fn a_providers_list_becomes_lines_that_the_aggregator_vouches_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("provider.toml"), edge_provider::config::TEMPLATE).unwrap();
    let listed = run(
        &mut program(&[
            "provider",
            "well-known",
            "--config",
            &path("provider.toml"),
            "--account",
            ACCOUNT,
        ]),
        PATIENCE,
    );
    assert_eq!((listed.code, listed.err.as_str()), (Some(0), ""));
    let sites = edge_wire::decode::<WellKnown>(listed.out.trim().as_bytes())
        .unwrap()
        .sites();
    assert_eq!(sites[0].id.to_string(), "edge.isp.example:80");
    assert_eq!(
        sites[0].key,
        Some((ChainId(1337), ACCOUNT.parse().unwrap()))
    );
    fs::write(path("list.json"), &listed.out).unwrap();

    let key = run(
        &mut program(&["chain", "key", &path("aggregator.key")]),
        PATIENCE,
    );
    let aggregator = key.out.trim().parse().unwrap();
    let sign = |list: &str| {
        run(
            &mut program(&["aggregator", "sign", "--key", &path("aggregator.key"), list]),
            PATIENCE,
        )
    };
    let feed = sign(&path("list.json"));
    assert_eq!((feed.code, feed.err.as_str()), (Some(0), ""));
    let read = read_feed(feed.out.as_bytes(), aggregator, SystemClock::start().utc());
    assert_eq!((read.sites, read.refused_in_all), (sites, 0));

    let refused = sign(&path("provider.toml"));
    assert_eq!(refused.code, Some(64));
    assert!(
        refused
            .err
            .contains("`exec-edge provider well-known` prints one"),
        "{}",
        refused.err
    );
}
