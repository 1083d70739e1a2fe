//! Many targets in turn, no more at once than the asker keeps up with.

use std::net::IpAddr;
use std::sync::mpsc;
use std::time::Duration;

use edge_ports::TraceError;
use edge_types::PathObservation;

use crate::prober::{Answer, Prober};

/// Traces that one asker has under way; see [`Prober::stream`].
///
/// For askers who have more targets than may be under way, take paths slowly, or decide from what came what they ask next:
/// no more paths wait in memory than were begun. Dropping it does not end the traces; dropping the prober does.
#[derive(Debug)]
pub struct TraceStream<'a> {
    prober: &'a Prober,
    sender: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
    under_way: usize,
}

impl Prober {
    /// A stream with nothing under way.
    pub fn stream(&self) -> TraceStream<'_> {
        let (sender, answers) = mpsc::channel();
        TraceStream {
            prober: self,
            sender,
            answers,
            under_way: 0,
        }
    }
}

impl TraceStream<'_> {
    /// Begins traces. Their paths, or why there are none, come out of [`TraceStream::next_within`].
    pub fn begin(&mut self, targets: Vec<IpAddr>) {
        self.under_way += targets.len();
        self.prober.trace_into(targets.into_iter(), &self.sender);
    }

    /// Traces that were begun and not yet given out.
    pub const fn under_way(&self) -> usize {
        self.under_way
    }

    /// The next path, in any order; `None` if none is known within `patience`. Blocks the thread.
    pub fn next_within(
        &mut self,
        patience: Duration,
    ) -> Option<Result<PathObservation, TraceError>> {
        // The sender is ours, so the channel stays open.
        let answer = self.answers.recv_timeout(patience).ok()?;
        self.under_way = self.under_way.saturating_sub(1);
        Some(answer)
    }
}
