//! What is measured, under which conditions, with which goal.

use super::scenarios::Scene;
use super::score::Metric;
use super::tools::{self, Tool};

/// One case of the bench.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// For people: what the network is like and how the probers are set.
    pub(super) conditions: &'static str,
    pub(super) scene: Scene,
    /// Packets per second, for every prober that can be told.
    pub(super) rate: u32,
    ours: Tool,
    peers: &'static [Tool],
    pub(super) kind: Kind,
    pub(super) figures: &'static [(Metric, Goal)],
    /// Shall both trees be the same?
    pub(super) same_tree: bool,
}

/// How a case is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By the edges found.
    Map,
    /// By the round trips of links.
    LinkErrors,
    /// By the error bars of the round trips of links.
    ErrorBars,
    /// By the memory of the prober.
    Memory,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    /// Told only.
    None,
    Fixed(f64),
    /// So much more than the time that the rations of the routers take.
    Learning(f64),
    /// So many times the best peer's.
    OfPeer(f64),
    /// So many times the best peer's, and no more than this.
    OfPeerOr(f64, f64),
    /// The best peer's, and no less than this.
    PeerOr(f64),
}

impl Case {
    /// Ours, then the peers.
    pub(super) fn tools(&self) -> impl Iterator<Item = Tool> {
        std::iter::once(self.ours).chain(self.peers.iter().copied())
    }
}

const ONE_CLIENT_PEERS: &[Tool] = &[
    tools::TRACEROUTE,
    tools::TRACEROUTE_TUNED,
    tools::SCAMPER,
    tools::SCAMPER_TUNED,
    tools::TRIPPY_ONCE,
    tools::TRIPPY_TUNED,
];

const PAPER_PEERS: &[Tool] = &[
    tools::SCAMPER,
    tools::SCAMPER_TUNED,
    tools::SCAMPER_TWICE,
    tools::SCAMPER_DOUBLETREE,
    tools::SCAMPER_DOUBLETREE_TWICE,
];

const TEN_THOUSAND_PEERS: &[Tool] = &[
    tools::SCAMPER_TUNED,
    tools::SCAMPER_TWICE,
    tools::SCAMPER_DOUBLETREE,
    tools::SCAMPER_DOUBLETREE_TWICE,
];

const PAPER_FIGURES: &[(Metric, Goal)] = &[
    (Metric::Wall, Goal::Learning(2.0)),
    (Metric::Recall, Goal::Fixed(0.99)),
    (Metric::FalseEdges, Goal::Fixed(0.0)),
    (Metric::Invented, Goal::Fixed(0.0)),
    (Metric::ProbesPerTarget, Goal::Fixed(4.0)),
    (Metric::MostEdges, Goal::None),
];

/// All cases.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "one-client/answers",
        conditions: "scenarios/line.toml with routers 6 and 11 silent: 15 hops, 80 ms; the client answers; 500 packets/s \
                     (traceroute and trippy set none)",
        scene: Scene::Line {
            client_answers: true,
        },
        rate: 500,
        ours: tools::OURS,
        peers: ONE_CLIENT_PEERS,
        kind: Kind::Map,
        figures: &[
            (Metric::Wall, Goal::Fixed(0.4)),
            (Metric::Probes, Goal::Fixed(25.0)),
            (Metric::Recall, Goal::Fixed(1.0)),
            (Metric::FalseEdges, Goal::Fixed(0.0)),
        ],
        same_tree: false,
    },
    Case {
        name: "one-client/silent",
        conditions: "the same, but the client is silent",
        scene: Scene::Line {
            client_answers: false,
        },
        rate: 500,
        ours: tools::OURS,
        peers: ONE_CLIENT_PEERS,
        kind: Kind::Map,
        figures: &[
            (Metric::Wall, Goal::Fixed(0.6)),
            (Metric::Probes, Goal::Fixed(25.0)),
            (Metric::Recall, Goal::Fixed(1.0)),
            (Metric::FalseEdges, Goal::Fixed(0.0)),
        ],
        same_tree: false,
    },
    Case {
        name: "paper-tree/as-shipped",
        conditions: "scenarios/paper-240.toml: Linux's limits, the three large exchanges 50 errors/s; 500 packets/s; \
                     L = max over limited routers of (children - burst) / rate",
        scene: Scene::PaperAsShipped,
        rate: 500,
        ours: tools::OURS,
        peers: PAPER_PEERS,
        kind: Kind::Map,
        figures: PAPER_FIGURES,
        same_tree: false,
    },
    Case {
        name: "paper-tree/linux-limits",
        conditions: "the same with Linux's limits at every router, large and silent ones too: L = max over routers of \
                     (children - 6) s; 500 packets/s; ours may take 30 s for a target",
        scene: Scene::PaperLinux,
        rate: 500,
        ours: tools::OURS_PATIENT,
        peers: PAPER_PEERS,
        kind: Kind::Map,
        figures: PAPER_FIGURES,
        same_tree: false,
    },
    Case {
        name: "ten-thousand",
        conditions: "exec-edge lab generate --prefixes 10000 --seed 1: mixed limiters, 4 % silent routers, diamonds, 20 % \
                     silent clients; 5,000 packets/s",
        scene: Scene::TenThousand,
        rate: 5000,
        ours: tools::OURS,
        peers: TEN_THOUSAND_PEERS,
        kind: Kind::Map,
        figures: &[
            (Metric::Wall, Goal::None),
            (Metric::ProbesPerTarget, Goal::OfPeerOr(0.5, 4.0)),
            (Metric::Recall, Goal::PeerOr(0.99)),
            (Metric::FalseEdges, Goal::Fixed(0.0)),
            (Metric::Invented, Goal::Fixed(0.0)),
            (Metric::MostEdges, Goal::OfPeer(1.0 / 3.0)),
        ],
        same_tree: false,
    },
    Case {
        name: "slow-path",
        conditions: "scenarios/paper-240.toml, errors of a third of the routers slow by 0.5 ms + Exp(2 ms), of a third by \
                     2 ms + Exp(10 ms); 500 packets/s; error of each link's round trip, the peer's from every two hops \
                     of every trace; ours samples each interface 16 times",
        scene: Scene::PaperSlow,
        rate: 500,
        ours: tools::OURS_LINKS_TWICE,
        peers: &[tools::SCAMPER, tools::SCAMPER_TUNED, tools::SCAMPER_TWICE],
        kind: Kind::LinkErrors,
        figures: &[],
        same_tree: false,
    },
    Case {
        name: "asymmetric",
        conditions: "scenarios/paper-240.toml, answers of a fifth of the routers and of all behind them come back over a \
                     further link of 0.5 to 60 ms; 500 packets/s; ours samples each interface 8 times; does the error bar cover the link's configured round trip?",
        scene: Scene::PaperAsymmetric,
        rate: 500,
        ours: tools::OURS_LINKS,
        peers: &[],
        kind: Kind::ErrorBars,
        figures: &[],
        same_tree: false,
    },
    Case {
        name: "unprivileged",
        conditions: "scenarios/paper-240.toml, all capabilities dropped, against ours with all; 500 packets/s",
        scene: Scene::PaperAsShipped,
        rate: 500,
        ours: tools::OURS_UNPRIVILEGED,
        peers: &[tools::OURS_PRIVILEGED],
        kind: Kind::Map,
        figures: &[
            (Metric::Wall, Goal::OfPeer(1.1)),
            (Metric::Recall, Goal::Fixed(0.99)),
            (Metric::FalseEdges, Goal::Fixed(0.0)),
            (Metric::ProbesPerTarget, Goal::None),
        ],
        same_tree: true,
    },
    Case {
        name: "lossy",
        conditions: "scenarios/paper-240.toml, 30 % of all round trips lost on the cloud's first link, 60 % of the routers \
                     limited as Linux is, the others not; 500 packets/s; bound: L + 10 s",
        scene: Scene::PaperLossy,
        rate: 500,
        ours: tools::OURS,
        peers: PAPER_PEERS,
        kind: Kind::Map,
        figures: &[
            (Metric::Wall, Goal::Learning(10.0)),
            (Metric::Recall, Goal::None),
            (Metric::FalseEdges, Goal::Fixed(0.0)),
            (Metric::Invented, Goal::Fixed(0.0)),
            (Metric::Accounted, Goal::Fixed(1.0)),
            (Metric::ProbesPerTarget, Goal::None),
        ],
        same_tree: false,
    },
    Case {
        name: "million",
        conditions: "1,000,000 targets from a file, one in each /24, nobody answers; 5,000 packets/s; peak resident memory \
                     after 20 s, while all wait",
        scene: Scene::Void,
        rate: 5000,
        ours: tools::OURS,
        peers: &[],
        kind: Kind::Memory,
        figures: &[],
        same_tree: false,
    },
];
