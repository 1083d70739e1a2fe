//! A run against the truth.

use std::collections::BTreeSet;

use super::run::Ran;
use super::tools::Seen;
use super::truth::{Edge, Truth, edges};

/// Share of the edges whose time is told.
const MOST: f64 = 0.95;

/// What is judged about a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Metric {
    /// From start to end, in s.
    Wall,
    /// Until 95 % of the edges in the truth were told, in s.
    MostEdges,
    /// Packets sent, by the lab's count.
    Probes,
    /// The same for each target.
    ProbesPerTarget,
    /// Share of the edges in the truth that were told.
    Recall,
    /// Edges told that are not on the path of the target that they were told of.
    FalseEdges,
    /// Those of them that are on no target's path.
    Invented,
    /// Share of the targets for which every hop is told or said to be unknown, and the end is true.
    Accounted,
}

impl Metric {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::MostEdges => "95 % of edges",
            Self::Probes => "probes",
            Self::ProbesPerTarget => "probes per target",
            Self::Recall => "recall",
            Self::FalseEdges => "false edges",
            Self::Invented => "false edges on no path",
            Self::Accounted => "unknown stated",
        }
    }

    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Wall | Self::MostEdges => "s",
            Self::Probes | Self::ProbesPerTarget => "probes",
            Self::Recall => "of edges",
            Self::FalseEdges | Self::Invented => "edges",
            Self::Accounted => "of targets",
        }
    }

    /// Time or probes, of which those who look for little spend little.
    pub(super) const fn is_spent(self) -> bool {
        matches!(
            self,
            Self::Wall | Self::MostEdges | Self::Probes | Self::ProbesPerTarget
        )
    }

    pub(super) const fn is_better_higher(self) -> bool {
        matches!(self, Self::Recall | Self::Accounted)
    }
}

/// A run, judged.
#[derive(Clone, Debug)]
pub(super) struct Score {
    wall_s: f64,
    most_edges_s: f64,
    probes: f64,
    targets: f64,
    recall: f64,
    false_edges: f64,
    invented: f64,
    accounted: f64,
    /// The true edges that were told.
    pub(super) found: BTreeSet<Edge>,
}

impl Score {
    pub(super) fn of(ran: &Ran, seen: &[Seen], truth: &Truth) -> Self {
        let mut found = BTreeSet::new();
        let (mut wrong, mut invented, mut accounted) = (0_u32, 0_u32, BTreeSet::new());
        let mut most_edges_s = f64::INFINITY;
        for path in seen {
            for edge in edges(&path.hops) {
                if !truth.has(path.target, edge) {
                    wrong += 1;
                    invented += u32::from(!truth.edges.contains(&edge));
                } else if truth.edges.contains(&edge) {
                    found.insert(edge);
                }
            }
            if found.len() as f64 >= MOST * truth.edges.len() as f64 {
                most_edges_s = most_edges_s.min(path.at.as_secs_f64());
            }
            let end_is_true = truth.paths.get(&path.target).is_some_and(|true_path| {
                !path.reached
                    || (true_path.len() == path.hops.len() && true_path.last() == path.hops.last())
            });
            if path.is_accounted && end_is_true {
                accounted.insert(path.target);
            }
        }
        let targets = truth.paths.len() as f64;
        Self {
            wall_s: ran.wall.as_secs_f64(),
            most_edges_s,
            probes: ran.sent as f64,
            targets,
            recall: found.len() as f64 / truth.edges.len() as f64,
            false_edges: f64::from(wrong),
            invented: f64::from(invented),
            accounted: accounted.len() as f64 / targets,
            found,
        }
    }

    pub(super) fn get(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Wall => self.wall_s,
            Metric::MostEdges => self.most_edges_s,
            Metric::Probes => self.probes,
            Metric::ProbesPerTarget => self.probes / self.targets,
            Metric::Recall => self.recall,
            Metric::FalseEdges => self.false_edges,
            Metric::Invented => self.invented,
            Metric::Accounted => self.accounted,
        }
    }

    /// For the person who waits.
    pub(super) fn describe(&self) -> String {
        format!(
            "{:.2} s, {:.0} probes ({:.2} per target), recall {:.1} %, {:.0} false edges ({:.0} on no path), 95 % of edges after {:.2} s",
            self.wall_s,
            self.probes,
            self.probes / self.targets,
            self.recall * 100.0,
            self.false_edges,
            self.invented,
            self.most_edges_s,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    #[test]
    fn judges_edges_and_times() {
        let [a, b, c, near, far] = [
            "240.1.0.1",
            "240.1.1.1",
            "240.1.2.1",
            "240.2.0.1",
            "240.3.0.1",
        ]
        .map(|text| text.parse::<IpAddr>().unwrap());
        let mut truth = Truth::default();
        truth.paths.insert(near, vec![Some(a), Some(b), Some(near)]);
        truth.paths.insert(far, vec![Some(a), Some(c), None]);
        truth.edges = BTreeSet::from([(a, b), (b, near), (a, c)]);
        let seen = |target, second: u64, hops: Vec<Option<IpAddr>>, reached| Seen {
            target,
            at: Duration::from_secs(second),
            rtt_ms: vec![None; hops.len()],
            hops,
            reached,
            is_accounted: true,
        };
        let ran = Ran {
            lines: Vec::new(),
            wall: Duration::from_secs(3),
            sent: 8,
            late_ms: 0.0,
            complaints: PathBuf::new(),
        };
        let complete = [
            seen(near, 1, vec![Some(a), Some(b), Some(near)], true),
            seen(far, 2, vec![Some(a), Some(c)], false),
        ];
        let score = Score::of(&ran, &complete, &truth);
        assert!(score.get(Metric::Recall) > 0.999 && score.get(Metric::FalseEdges) < 0.5);
        assert!((score.get(Metric::MostEdges) - 2.0).abs() < 0.001);
        assert!((score.get(Metric::ProbesPerTarget) - 4.0).abs() < 0.001);
        assert!(score.get(Metric::Accounted) > 0.999);

        let wrong = [
            seen(near, 1, vec![Some(a), Some(b), Some(near)], true),
            // b is on another path only, and that target never answers
            seen(far, 2, vec![Some(a), Some(b), Some(far)], true),
        ];
        let score = Score::of(&ran, &wrong, &truth);
        assert!((score.get(Metric::FalseEdges) - 2.0).abs() < 0.001);
        assert!((score.get(Metric::Invented) - 1.0).abs() < 0.001);
        assert!(score.get(Metric::MostEdges).is_infinite());
        assert!(score.get(Metric::Accounted) < 0.6);
    }
}
