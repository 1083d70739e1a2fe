//! The networks of the cases, made from the shipped scenarios by rules with fixed seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::bench::exec_edge;
use crate::shell;

/// Seed of everything that is drawn here.
const SEED: u64 = 1;

/// Routers of `line.toml` that never answer.
const SILENT_ON_THE_LINE: [&str; 2] = ["r6", "r11"];

/// Loss of each direction of the cloud's first link: 30 % of the round trips.
const LOSS_PER_DIRECTION: f64 = 0.163_340;

/// Which network a case runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scene {
    /// `line.toml` with two silent routers; does the client answer?
    Line { client_answers: bool },
    /// `paper-240.toml` as it is.
    PaperAsShipped,
    /// `paper-240.toml` with every router limited as Linux is by default.
    PaperLinux,
    /// A third of the routers slow by 0.5 + Exp(2) ms, a third by 2 + Exp(10) ms.
    PaperSlow,
    /// From a fifth of the routers the way back takes a link of its own.
    PaperAsymmetric,
    /// 30 % of the round trips lost; 60 % of the routers limited as Linux is, the others not.
    PaperLossy,
    /// 10,000 client networks, drawn by `lab generate`.
    TenThousand,
    /// One silent router and addresses that nobody has behind it.
    Void,
}

const VOID: &str = r#"
format = 1
name = "void"
seed = 1
cloud = { router = "only", addresses = ["240.0.0.10"], host = "app.cloud.example" }
dns = { router = "only", addresses = ["240.0.0.53"] }
chain = { router = "only", addresses = ["240.0.0.80"] }
routers = [{ id = "only", addresses = ["240.0.1.1"], icmp = "silent" }]
clients = [{ prefix = "240.0.2.0/24", router = "only", answers_probes = false }]
"#;

/// Writes the scenario's file.
pub(super) fn write(scene: Scene) -> Result<PathBuf> {
    let (name, text) = match scene {
        Scene::Line {
            client_answers: true,
        } => ("line-answers", line(true)?),
        Scene::Line {
            client_answers: false,
        } => ("line-silent", line(false)?),
        Scene::PaperAsShipped => ("paper", shipped("paper-240.toml")?),
        Scene::PaperLinux => ("paper-linux", paper(linux)?),
        Scene::PaperSlow => ("paper-slow", paper(slow)?),
        Scene::PaperAsymmetric => ("paper-asymmetric", paper(asymmetric)?),
        Scene::PaperLossy => ("paper-lossy", paper(lossy)?),
        Scene::TenThousand => {
            let seed = SEED.to_string();
            let arguments = ["lab", "generate", "--prefixes", "10000", "--seed", &seed];
            ("ten-thousand", shell::capture(exec_edge(&arguments))?)
        }
        Scene::Void => ("void", VOID.to_owned()),
    };
    let file = super::folder()?.join(format!("{name}.toml"));
    std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

fn shipped(name: &str) -> Result<String> {
    let file = shell::root().join("scenarios").join(name);
    std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
}

fn line(client_answers: bool) -> Result<String> {
    let mut scenario: Table = shipped("line.toml")?.parse().context("parsing line.toml")?;
    for router in tables(&mut scenario, "routers")? {
        if SILENT_ON_THE_LINE.contains(&text(router, "id")?.as_str()) {
            router.insert("icmp".into(), "silent".into());
        }
    }
    for client in tables(&mut scenario, "clients")? {
        client.insert("answers_probes".into(), client_answers.into());
    }
    Ok(toml::to_string(&scenario)?)
}

fn paper(change: fn(&mut Table) -> Result<()>) -> Result<String> {
    let mut scenario: Table = shipped("paper-240.toml")?
        .parse()
        .context("parsing paper-240.toml")?;
    change(&mut scenario)?;
    Ok(toml::to_string(&scenario)?)
}

fn linux(scenario: &mut Table) -> Result<()> {
    for router in tables(scenario, "routers")? {
        router.remove("icmp_rate");
        router.insert("icmp".into(), "linux".into());
    }
    Ok(())
}

fn slow(scenario: &mut Table) -> Result<()> {
    let mut random = Random(SEED);
    for router in tables(scenario, "routers")? {
        let (base_ms, mean_ms) = match random.below(3) {
            0 => (0.0, 0.0),
            1 => (0.5, 2.0),
            _ => (2.0, 10.0),
        };
        let law = Table::from_iter([
            ("base_ms".to_owned(), Value::from(base_ms)),
            ("mean_ms".to_owned(), Value::from(mean_ms)),
        ]);
        router.insert("slow_path".into(), law.into());
    }
    Ok(())
}

/// The further link leads to a router nearer to the cloud, costs nothing outwards in and far too much the other way: so
/// it carries answers of the router and of all behind it, and never a probe.
fn asymmetric(scenario: &mut Table) -> Result<()> {
    let mut random = Random(SEED);
    let distances = distances(scenario)?;
    let ids: Vec<&String> = distances.keys().collect();
    let mut linked: BTreeSet<(String, String)> = BTreeSet::new();
    for link in tables(scenario, "links")? {
        let (a, b) = (text(link, "a")?, text(link, "b")?);
        linked.insert((b.clone(), a.clone()));
        linked.insert((a, b));
    }
    let mut further = Vec::new();
    for id in &ids {
        if random.below(5) != 0 {
            continue;
        }
        let nearer: Vec<&&String> = ids
            .iter()
            .filter(|other| {
                // A millisecond, so that no rounding decides which way probes go.
                distances[**other] + 1.0 < distances[*id]
                    && !linked.contains(&((*id).clone(), (**other).clone()))
            })
            .collect();
        if nearer.is_empty() {
            continue;
        }
        let other = nearer[random.below(nearer.len())];
        let tenths = u32::try_from(5 + random.below(596)).unwrap_or(5);
        further.push(Value::from(Table::from_iter([
            ("a".to_owned(), Value::from(id.as_str())),
            ("b".to_owned(), Value::from(other.as_str())),
            ("delay_ms".to_owned(), (f64::from(tenths) / 10.0).into()),
            ("cost".to_owned(), 1.into()),
            ("reverse_cost".to_owned(), 1_000_000_000.into()),
        ])));
    }
    let links = scenario.get_mut("links").and_then(Value::as_array_mut);
    links.context("a scenario without links")?.extend(further);
    Ok(())
}

fn lossy(scenario: &mut Table) -> Result<()> {
    let mut random = Random(SEED);
    for router in tables(scenario, "routers")? {
        let limited = random.below(10) < 6;
        router.remove("icmp_rate");
        if router.get("icmp").and_then(Value::as_str) != Some("silent") {
            let ration = if limited { "linux" } else { "unlimited" };
            router.insert("icmp".into(), ration.into());
        }
    }
    for link in tables(scenario, "links")? {
        if text(link, "a")? == "gateway" {
            link.insert("loss".into(), LOSS_PER_DIRECTION.into());
        }
    }
    Ok(())
}

/// Least delay of each router from the gateway, in ms.
fn distances(scenario: &mut Table) -> Result<BTreeMap<String, f64>> {
    let mut links = Vec::new();
    for link in tables(scenario, "links")? {
        let delay = link.get("delay_ms").and_then(number);
        links.push((
            text(link, "a")?,
            text(link, "b")?,
            delay.context("a link without delay")?,
        ));
    }
    let mut distances = BTreeMap::from([("gateway".to_owned(), 0.0)]);
    loop {
        let mut changed = false;
        for (a, b, delay) in &links {
            for (from, to) in [(a, b), (b, a)] {
                let Some(through) = distances.get(from).map(|known| known + delay) else {
                    continue;
                };
                if distances.get(to).is_none_or(|known| through < *known) {
                    distances.insert(to.clone(), through);
                    changed = true;
                }
            }
        }
        if !changed {
            return Ok(distances);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds are small")]
fn number(value: &Value) -> Option<f64> {
    value
        .as_float()
        .or_else(|| value.as_integer().map(|whole| whole as f64))
}

fn tables<'a>(scenario: &'a mut Table, name: &str) -> Result<impl Iterator<Item = &'a mut Table>> {
    let list = scenario.get_mut(name).and_then(Value::as_array_mut);
    let list = list.with_context(|| format!("a scenario without {name}"))?;
    Ok(list.iter_mut().filter_map(Value::as_table_mut))
}

fn text(table: &Table, field: &str) -> Result<String> {
    let value = table.get(field).and_then(Value::as_str);
    Ok(value
        .with_context(|| format!("an entry without {field}"))?
        .to_owned())
}

/// `SplitMix64` (Steele et al., OOPSLA'14).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((value ^ (value >> 31)) % bound.max(1) as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_further_link_never_shortens_the_way_out() {
        let mut scenario: Table = shipped("paper-240.toml").unwrap().parse().unwrap();
        let before = distances(&mut scenario).unwrap();
        let links = |scenario: &Table| scenario["links"].as_array().unwrap().clone();
        let count = links(&scenario).len();
        asymmetric(&mut scenario).unwrap();
        let further = links(&scenario).split_off(count);
        assert!(further.len() > 20);
        for link in further {
            let (a, b) = (link["a"].as_str().unwrap(), link["b"].as_str().unwrap());
            assert!(before[b] < before[a]);
        }
    }

    #[test]
    fn most_routers_of_the_lossy_network_are_limited() {
        let mut scenario: Table = shipped("paper-240.toml").unwrap().parse().unwrap();
        lossy(&mut scenario).unwrap();
        let routers = scenario["routers"].as_array().unwrap();
        let limited = routers
            .iter()
            .filter(|router| router["icmp"].as_str() == Some("linux"));
        assert!((110..170).contains(&limited.count()));
    }
}
