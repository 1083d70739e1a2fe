//! Runs a discovery over a lookup.

use std::num::NonZeroUsize;
use std::time::Duration;

use edge_discovery::{Answer, Discovery, IepCandidate, Question};
use edge_ports::{BoxFuture, Clock, NameLookup};
use edge_types::PathObservation;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

/// Asks what `discovery` wants to know, `parallelism` questions at a time (64 is plenty for one resolver), until all is
/// known or the run is over; then closes the run. Calls `on_candidate` for each candidate as soon as it is complete.
///
/// The caller has opened the run ([`Discovery::start_run`]) and told what to look at. Without an open run nothing is
/// asked.
pub async fn drive(
    discovery: &mut Discovery,
    lookup: &dyn NameLookup,
    clock: &dyn Clock,
    parallelism: NonZeroUsize,
    on_candidate: impl FnMut(IepCandidate) + Send,
) {
    let (_, mut no_paths) = mpsc::channel(1);
    drive_stream(
        discovery,
        lookup,
        clock,
        parallelism,
        &mut no_paths,
        on_candidate,
    )
    .await;
}

/// As [`drive`], taking paths as they are traced, until `paths` is closed and all is known, or the run is over.
pub async fn drive_stream(
    discovery: &mut Discovery,
    lookup: &dyn NameLookup,
    clock: &dyn Clock,
    parallelism: NonZeroUsize,
    paths: &mut mpsc::Receiver<PathObservation>,
    mut on_candidate: impl FnMut(IepCandidate) + Send,
) {
    let mut under_way: FuturesUnordered<BoxFuture<'_, (Question, Answer)>> =
        FuturesUnordered::new();
    let remaining = discovery
        .deadline()
        .map_or(Duration::ZERO, |deadline| deadline.since(clock.monotonic()));
    let run_over = tokio::time::sleep(remaining);
    tokio::pin!(run_over);
    let mut may_come = true;
    loop {
        while under_way.len() < parallelism.get()
            && let Some(question) = discovery.poll_question(clock.monotonic())
        {
            under_way.push(Box::pin(async move {
                let answer = lookup.lookup(&question).await;
                (question, answer)
            }));
        }
        while let Some(candidate) = discovery.poll_candidate() {
            on_candidate(candidate);
        }
        if under_way.is_empty() && !may_come {
            break;
        }
        tokio::select! {
            () = &mut run_over => break,
            Some((question, answer)) = under_way.next(), if !under_way.is_empty() => {
                discovery.handle_answer(&question, answer, clock.monotonic());
            }
            path = paths.recv(), if may_come => match path {
                Some(path) => discovery.observe_path(&path, clock.monotonic()),
                None => may_come = false,
            },
        }
    }
    discovery.end_run(clock.monotonic());
    while let Some(candidate) = discovery.poll_candidate() {
        on_candidate(candidate);
    }
}
