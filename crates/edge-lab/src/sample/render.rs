//! Writes a scenario as a person would: one line for each router, link, client network and site.

use std::fmt::Write as _;

use serde::Serialize;
use toml::ser::ValueSerializer;

use crate::scenario::{Decision, Scenario, SettlementKind};

/// The text of a scenario file, after `heading` as a comment. Reading it gives the same scenario again.
pub fn render(scenario: &Scenario, heading: &str) -> Result<String, toml::ser::Error> {
    let mut text = String::new();
    for line in heading.lines() {
        text.push_str(format!("# {line}").trim_end());
        text.push('\n');
    }
    text.push('\n');
    let mut field = |name: &str, value: String| {
        let _ = writeln!(text, "{name} = {value}"); // writing to a String cannot fail
    };
    field("format", inline(&scenario.format)?);
    field("name", inline(&scenario.name)?);
    field("description", inline(&scenario.description)?);
    field("seed", inline(&scenario.seed)?);
    field("defaults", inline(&scenario.defaults)?);
    field("cloud", inline(&scenario.cloud)?);
    field("dns", inline(&scenario.dns)?);
    field("chain", inline(&scenario.chain)?);
    list(&mut text, "routers", &scenario.routers)?;
    list(&mut text, "links", &scenario.links)?;
    list(&mut text, "clients", &scenario.clients)?;
    for provider in &scenario.providers {
        let _ = write!(
            text,
            "\n[[providers]]\ndomain = {}\n",
            inline(provider.domain.as_str())?
        );
        if !provider.listed {
            text.push_str("listed = false\n");
        }
        if provider.decision != Decision::default() {
            let _ = writeln!(text, "decision = {}", inline(&provider.decision)?);
        }
        if provider.settlement != SettlementKind::default() {
            let _ = writeln!(text, "settlement = {}", inline(&provider.settlement)?);
        }
        rows(&mut text, "sites", &provider.sites)?;
    }
    Ok(text)
}

fn list<T: Serialize>(text: &mut String, name: &str, items: &[T]) -> Result<(), toml::ser::Error> {
    text.push('\n');
    rows(text, name, items)
}

fn rows<T: Serialize>(text: &mut String, name: &str, items: &[T]) -> Result<(), toml::ser::Error> {
    let _ = writeln!(text, "{name} = [");
    for item in items {
        let _ = writeln!(text, "  {},", inline(item)?);
    }
    text.push_str("]\n");
    Ok(())
}

fn inline<T: Serialize + ?Sized>(value: &T) -> Result<String, toml::ser::Error> {
    let mut buffer = String::new();
    value.serialize(ValueSerializer::new(&mut buffer))?;
    Ok(buffer)
}
