//! Runs a discovery over a lookup.

use std::num::NonZeroUsize;
use std::time::Duration;

use edge_discovery::{Answer, Discovery, IepCandidate, Question, RecordKind};
use edge_ports::{BoxFuture, Clock, NameLookup};
use edge_types::PathObservation;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Asks what `discovery` wants to know, `parallelism` questions at a time, until all is known or the run is over; then
/// closes the run. Calls `on_candidate` for each candidate as soon as it is complete.
///
/// One path alone may have a hundred questions that need not wait for each other, so 256 at a time cost no round trip that
/// can be spared; how many of them are on the way to whom is bounded by the resolver.
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

/// As [`drive`], taking paths as they are traced, so that paths need not wait for each other's answers. Returns when all
/// is known and no path waits, or the run is over. A program that traces all the time does this:
///
/// ```text
/// while let Some(path) = paths.recv().await {
///     discovery.start_run(clock.monotonic());
///     discovery.observe_path(&path, clock.monotonic());
///     drive_stream(&mut discovery, &resolver, &clock, parallelism, &mut paths, &mut on_candidate).await;
/// }
/// ```
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
    let run_over = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(run_over);
    let mut deadline = None;
    let mut are_paths_open = true;
    let mut drawn = Drawn::default();
    loop {
        while let Ok(path) = paths.try_recv() {
            discovery.observe_path(&path, clock.monotonic());
        }
        while under_way.len() < parallelism.get()
            && let Some(question) = drawn.next(discovery, clock)
        {
            under_way.push(Box::pin(async move {
                let answer = lookup.lookup(&question).await;
                (question, answer)
            }));
        }
        while let Some(candidate) = discovery.poll_candidate() {
            on_candidate(candidate);
        }
        if under_way.is_empty() {
            break;
        }
        if deadline != discovery.deadline() {
            deadline = discovery.deadline();
            let remaining =
                deadline.map_or(Duration::ZERO, |deadline| deadline.since(clock.monotonic()));
            run_over.as_mut().reset(Instant::now() + remaining);
        }
        tokio::select! {
            () = &mut run_over => break,
            Some((question, answer)) = under_way.next() => {
                discovery.handle_answer(&question, answer, clock.monotonic());
            }
            path = paths.recv(), if are_paths_open => match path {
                Some(path) => discovery.observe_path(&path, clock.monotonic()),
                None => are_paths_open = false,
            },
        }
    }
    discovery.end_run(clock.monotonic());
    while let Some(candidate) = discovery.poll_candidate() {
        on_candidate(candidate);
    }
}

/// Questions for the names of addresses are asked in random order: neighbours share a server, and were it silent, all
/// that may be under way would wait for it.
#[derive(Debug, Default)]
struct Drawn {
    waiting: Vec<Question>,
}

impl Drawn {
    /// Out of how many one is drawn.
    const MAX_WAITING: usize = 4096;

    fn next(&mut self, discovery: &mut Discovery, clock: &dyn Clock) -> Option<Question> {
        while self.waiting.len() < Self::MAX_WAITING {
            match discovery.poll_question(clock.monotonic()) {
                Some(question) if question.kind == RecordKind::Ptr => self.waiting.push(question),
                // Later in the chain, and nearer to a result.
                Some(question) => return Some(question),
                None => break,
            }
        }
        let length = self.waiting.len();
        let index = match getrandom::u32() {
            Ok(random) if length > 0 => random as usize % length,
            _ => 0,
        };
        (index < length).then(|| self.waiting.swap_remove(index))
    }
}
