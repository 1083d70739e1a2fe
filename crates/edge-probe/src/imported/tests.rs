//! Imported paths before a source that only counts what it is asked.

use std::task::{Context, Poll, Waker};

use edge_trace_files::{Format, Limits, read};

use super::*;

const NOW: u64 = 1_790_000_000;

#[derive(Debug)]
struct StoppedClock;

impl Clock for StoppedClock {
    fn monotonic(&self) -> MonotonicTime {
        MonotonicTime(Duration::from_secs(1000))
    }

    fn utc(&self) -> UtcTime {
        UtcTime(NOW)
    }
}

/// Knows nothing.
#[derive(Debug, Default)]
struct Nothing(AtomicU64);

impl PathSource for Nothing {
    fn trace(
        &self,
        _target: IpAddr,
        _priority: TracePriority,
    ) -> BoxFuture<'_, Result<PathObservation, TraceError>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Err(TraceError::Stopped)))
    }
}

/// Two paths to one target, 100 s and 2000 s old, and one that tells no age.
fn source(config: ImportedConfig) -> (ImportedPaths, Arc<Nothing>) {
    let line = |target: &str, router: &str, time: &str| {
        format!(
            "{{\"target\":\"{target}\",\"end\":\"reached\",\"hops\":[{{\"ttl\":1,\"addr\":\"{router}\",\"rtt_ms\":1}},\
             {{\"ttl\":2,\"addr\":\"{target}\"}}],\"further\":[{{\"ttl\":2,\"addr\":\"{target}\",\"rtt_ms\":9}}]{time}}}\n"
        )
    };
    let at = |age: u64| format!(",\"ended_utc_s\":{}", NOW - age);
    let text = line("240.0.9.1", "240.1.0.1", &at(100))
        + &line("240.0.9.1", "240.1.0.2", &at(2000))
        + &line("240.0.8.1", "240.1.0.3", "");
    let import = read(text.as_bytes(), Some(Format::JsonLines), &Limits::default()).unwrap();
    assert_eq!(import.log.lost, 0);
    let nothing = Arc::new(Nothing::default());
    let otherwise: Arc<dyn PathSource> = Arc::clone(&nothing) as Arc<dyn PathSource>;
    let paths = ImportedPaths::new(config, import.records, otherwise, Arc::new(StoppedClock));
    (paths, nothing)
}

fn ask(source: &ImportedPaths, target: &str, priority: TracePriority) -> Option<PathObservation> {
    let mut answer = source.trace(target.parse().unwrap(), priority);
    match answer
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(answer) => answer.ok(),
        Poll::Pending => panic!("neither files nor nothing wait"),
    }
}

fn first_hop(path: &PathObservation) -> String {
    path.replies().next().unwrap().1.address.to_string()
}

#[test]
fn what_is_known_is_answered_with_its_age_and_the_rest_handed_on() {
    let (source, nothing) = source(ImportedConfig::default());
    assert_eq!(source.len(), 2);
    let path = ask(&source, "240.0.9.1", TracePriority::New).unwrap();
    assert_eq!(first_hop(&path), "240.1.0.1", "the newer of two");
    assert_eq!(path.observed_at, MonotonicTime(Duration::from_secs(900)));
    let undated = ask(&source, "240.0.8.1", TracePriority::New).unwrap();
    assert_eq!(undated.observed_at, MonotonicTime::ZERO);
    assert_eq!(
        (source.answered(), nothing.0.load(Ordering::Relaxed)),
        (2, 0)
    );
    assert_eq!(ask(&source, "240.0.9.2", TracePriority::New), None);
    assert_eq!(
        (source.answered(), nothing.0.load(Ordering::Relaxed)),
        (2, 1)
    );
}

#[test]
fn a_refresh_is_handed_on_unless_probes_are_replaced() {
    let (augmenting, nothing) = source(ImportedConfig::default());
    assert_eq!(ask(&augmenting, "240.0.9.1", TracePriority::Refresh), None);
    assert_eq!(ask(&augmenting, "240.0.9.1", TracePriority::Unstable), None);
    assert_eq!(nothing.0.load(Ordering::Relaxed), 2);
    let (replacing, _) = source(ImportedConfig {
        used: ImportedUse::Replace,
        ..ImportedConfig::default()
    });
    assert!(ask(&replacing, "240.0.9.1", TracePriority::Refresh).is_some());
}

#[test]
fn what_is_too_old_or_of_unknown_age_is_handed_on() {
    for (seconds, is_known) in [(100, true), (99, false)] {
        let (source, _) = source(ImportedConfig {
            max_age: Some(Duration::from_secs(seconds)),
            ..ImportedConfig::default()
        });
        let answer = ask(&source, "240.0.9.1", TracePriority::New);
        assert_eq!(answer.is_some(), is_known, "{seconds} s");
        assert_eq!(ask(&source, "240.0.8.1", TracePriority::New), None);
    }
}

#[test]
fn a_path_to_a_neighbour_tells_the_routers_but_not_the_target() {
    let (source, _) = source(ImportedConfig {
        grouping: Some(PrefixGrouping::SITE),
        ..ImportedConfig::default()
    });
    let path = ask(&source, "240.0.9.77", TracePriority::New).unwrap();
    assert_eq!(path.target.to_string(), "240.0.9.77");
    assert_eq!((path.hops.len(), path.end), (2, PathEnd::Silent));
    assert_eq!(path.hops[1], Hop::NoReply);
    assert!(path.replies().all(|(_, reply)| reply.shared));
    assert_eq!(
        path.further,
        [],
        "samples of the neighbour are none of the target"
    );
    // What is known of the address itself goes first.
    let own = ask(&source, "240.0.9.1", TracePriority::New).unwrap();
    assert_eq!(own.end, PathEnd::Reached);
    assert_eq!(ask(&source, "240.0.10.1", TracePriority::New), None);
}
