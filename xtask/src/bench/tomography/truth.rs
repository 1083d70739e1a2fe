//! What a prober could have seen with the flow that it used, by the lab's own account.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::tools::{DESTINATION_PORT, SOURCE_PORT};
use crate::bench::exec_edge;
use crate::shell;

/// Two interfaces, one directly behind the other.
pub(super) type Edge = (IpAddr, IpAddr);

/// The truth about one flow to each target.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// Who answers at each distance, `None` where nobody does; the target is the last.
    pub(super) paths: BTreeMap<IpAddr, Vec<Option<IpAddr>>>,
    /// Every two that follow each other on a path and both answer.
    pub(super) edges: BTreeSet<Edge>,
    /// Round trip over each link between routers, in ms, without jitter.
    pub(super) links: BTreeMap<Edge, f64>,
    /// How long a limited router needs at least until it has answered once for each of its children: the largest
    /// `(children - burst) / rate` of all routers, in seconds. 0 if none is limited so much.
    pub(super) learning_s: f64,
}

impl Truth {
    /// Asks the lab.
    pub(super) fn load(scenario: &Path) -> Result<Self> {
        let flow = format!("udp:{SOURCE_PORT}:{DESTINATION_PORT}");
        let file = scenario.to_string_lossy();
        let arguments = ["lab", "show", &file, "--truth", "--flow", &flow];
        let text = shell::capture(exec_edge(&arguments))?;
        let json: Value = serde_json::from_str(&text).context("reading the truth")?;
        Self::read(&json).context("the truth lacks something")
    }

    fn read(json: &Value) -> Option<Self> {
        let mut truth = Self::default();
        let mut children: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for prefix in json["prefixes"].as_array()? {
            let target = address(&prefix["target"])?;
            let hops = prefix["path"].as_array()?;
            let mut path: Vec<Option<IpAddr>> =
                hops.iter().map(|hop| address(&hop["address"])).collect();
            path.push(Some(target).filter(|_| prefix["answers_probes"] == true));
            truth.edges.extend(edges(&path));
            truth.paths.insert(target, path);

            let mut names: Vec<&str> = Vec::new();
            for hop in hops {
                names.push(hop["router"].as_str()?);
            }
            names.push(prefix["target"].as_str()?);
            for pair in names.windows(2) {
                children.entry(pair[0]).or_default().insert(pair[1]);
            }
        }
        let mut addresses: BTreeMap<&str, IpAddr> = BTreeMap::new();
        for router in json["routers"].as_array()? {
            let id = router["id"].as_str()?;
            if let Some(answers_with) = address(&router["icmp_v4"]) {
                addresses.insert(id, answers_with);
            }
            let ration = &router["ration"];
            if let (Some(burst), Some(rate)) =
                (ration["burst"].as_f64(), ration["per_second"].as_f64())
            {
                let children = children.get(id).map_or(0, BTreeSet::len);
                truth.learning_s = truth.learning_s.max((children as f64 - burst) / rate);
            }
        }
        let mut one_way: BTreeMap<Edge, f64> = BTreeMap::new();
        for link in json["links"].as_array()? {
            let end = |name: &str| addresses.get(link[name].as_str()?).copied();
            if let (Some(from), Some(to)) = (end("from"), end("to")) {
                one_way.insert((from, to), link["delay_ms"].as_f64()?);
            }
        }
        for ((from, to), delay) in &one_way {
            if let Some(back) = one_way.get(&(*to, *from)) {
                truth.links.insert((*from, *to), delay + back);
            }
        }
        Some(truth)
    }

    /// Does `target`'s true path have these two one after the other?
    pub(super) fn has(&self, target: IpAddr, edge: Edge) -> bool {
        let path = self.paths.get(&target);
        path.is_some_and(|path| edges(path).any(|real| real == edge))
    }
}

/// Every two that follow each other directly.
pub(super) fn edges(path: &[Option<IpAddr>]) -> impl Iterator<Item = Edge> {
    path.windows(2)
        .filter_map(|pair| Some((pair[0]?, pair[1]?)))
        .filter(|(near, far)| near != far)
}

/// An address in JSON.
pub(super) fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn silence_breaks_edges_and_limits_take_time() {
        let hop =
            |router: &str, address: Option<&str>| json!({ "router": router, "address": address });
        let prefix = |target: &str, answers: bool| {
            json!({ "target": target, "answers_probes": answers,
                "path": [hop("a", Some("240.1.0.1")), hop("b", None), hop("c", Some("240.1.2.1"))] })
        };
        let router = |id: &str, address: Option<&str>, ration: Value| json!({ "id": id, "icmp_v4": address, "ration": ration });
        let linux = json!({ "burst": 1, "per_second": 0.5, "scope": "destination" });
        let json = json!({
            "prefixes": [prefix("240.2.0.1", true), prefix("240.3.0.1", false)],
            "routers": [router("a", Some("240.1.0.1"), linux.clone()), router("b", None, json!("silent")),
                router("c", Some("240.1.2.1"), linux)],
            "links": [{ "from": "a", "to": "c", "delay_ms": 2.0 }, { "from": "c", "to": "a", "delay_ms": 3.0 }],
        });
        let truth = Truth::read(&json).unwrap();
        let [a, c, near, far] = ["240.1.0.1", "240.1.2.1", "240.2.0.1", "240.3.0.1"]
            .map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(truth.edges, BTreeSet::from([(c, near)]));
        assert!(
            truth.has(near, (c, near)) && !truth.has(far, (c, far)) && !truth.has(near, (a, c))
        );
        assert_eq!(truth.links[&(a, c)].to_bits(), 5.0_f64.to_bits());
        assert_eq!(
            truth.learning_s.to_bits(),
            2.0_f64.to_bits(),
            "c has two children"
        );
    }
}
