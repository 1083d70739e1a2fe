//! Published figures of probers that are not compared here, since no package brings them.

use std::fmt;

use serde_json::{Value, json};

/// A figure that somebody else measured on another network.
pub(super) struct Quoted {
    tool: &'static str,
    figure: &'static str,
    source: &'static str,
}

const FLASHROUTE: &str = "Huang et al., FlashRoute, IMC'20, doi 10.1145/3419394.3423619";
const FLASHROUTE_RS: &str = "BugenZhao/flashroute.rs, res/report.pdf";
const EXEC: &str = "Zavodovski et al., ExEC, EdgeSys'19, section 3";

/// All of them.
pub(super) fn all() -> Vec<Quoted> {
    let quoted = |tool, figure, source| Quoted {
        tool,
        figure,
        source,
    };
    vec![
        quoted(
            "ExEC, sequential traceroutes",
            "paper-tree: more than 1500 s",
            EXEC,
        ),
        quoted("ExEC, 3 threads", "paper-tree: about 500 s", EXEC),
        quoted(
            "FlashRoute-16 with hit list",
            "6.8 probes per target, 17:17 min for all IPv4 /24 at 100,000 packets/s",
            FLASHROUTE,
        ),
        quoted(
            "FlashRoute-16, random targets",
            "11.2 probes per target",
            FLASHROUTE,
        ),
        quoted(
            "yarrp",
            "16 to 32 probes per target, as set; waits 60 s at the end",
            "Beverly, Yarrp, arXiv 1605.03999",
        ),
        quoted(
            "scamper, up to TTL 16",
            "15.1 probes per target",
            FLASHROUTE,
        ),
        quoted(
            "flashroute.rs",
            "11.7 probes per target; one target in 8.3 s",
            FLASHROUTE_RS,
        ),
        quoted("FlashRoute", "one target in 15.2 s", FLASHROUTE_RS),
        quoted("yarrp", "one target in 61.5 s", FLASHROUTE_RS),
    ]
}

impl Quoted {
    pub(super) fn to_json(&self) -> Value {
        json!({ "tool": self.tool, "figure": self.figure, "source": self.source })
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.tool, self.figure, self.source)
    }
}
