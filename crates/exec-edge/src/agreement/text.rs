//! An agreement in words, whichever side wrote it down.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use edge_negotiation::{Agreement, Interval, NegotiationState, Stage};
use edge_orchestrator::journal::Written;
use edge_types::{AgreementId, AgreementState, Amount, Offer, Settlement, SiteConditions};
use edge_wire::message::Deployment;
use serde_json::{Value, json};

use super::levels;

/// One agreement as one of its sides knows it.
pub(super) struct Told {
    pub(super) id: String,
    pub(super) start: u64,
    pub(super) offer: Offer,
    state: String,
    reason: Option<String>,
    due: Option<Amount>,
    buyer: Option<String>,
    runs_at: Option<SocketAddr>,
    steps: Vec<(u64, String)>,
    /// By receipt interval; only the buyer measures it.
    intervals: Vec<Interval>,
    /// Files with the texts that the offer names, as far as they are kept.
    pub(super) texts: Vec<PathBuf>,
}

impl Told {
    pub(super) fn of_buyer(written: &Written) -> Self {
        let record = &written.record;
        let reason = match &record.state {
            NegotiationState::AwaitingContract => match &record.offer.settlement {
                Settlement::Contact(contact) => Some(format!("contact {contact}")),
                Settlement::Escrow { .. } | Settlement::Allowance => None,
            },
            NegotiationState::Rejected(reason) => Some(reason.to_string()),
            NegotiationState::Failed(failure) => Some(failure.to_string()),
            _ => record.failure.as_ref().map(ToString::to_string),
        };
        Self {
            id: written.id().to_string(),
            start: record.offer.slot.start.0,
            offer: record.offer.clone(),
            state: record.state.word(record.was_paid).to_owned(),
            reason,
            due: None,
            buyer: None,
            runs_at: written.serving_at.filter(|_| !record.state.is_final()),
            steps: written
                .steps
                .iter()
                .map(|(at, what)| (at.0, what.clone()))
                .collect(),
            intervals: record.intervals.clone(),
            texts: Vec::new(),
        }
    }

    pub(super) fn of_provider(
        agreement: &Agreement,
        running: &BTreeMap<AgreementId, (SocketAddr, Deployment)>,
    ) -> Self {
        let state = match (agreement.stage, agreement.state) {
            (Stage::Answering, _) => "answering",
            (Stage::Serving, _) => "serving",
            (Stage::Draining, _) => "draining",
            (Stage::Settling { .. }, AgreementState::Claimed) => "claimed",
            (Stage::Settling { .. }, AgreementState::Disputed) => "disputed",
            (Stage::Settling { .. }, _) => "settling",
            (Stage::Closed, AgreementState::Settled) => "settled",
            (Stage::Closed, AgreementState::Rejected) => "rejected",
            (Stage::Closed, AgreementState::Expired) => "expired",
            (Stage::Closed, _) => "left",
        };
        let reason = agreement.reason.as_ref().map(ToString::to_string);
        let ending = agreement.ending.map(|ending| ending.to_string());
        let id = AgreementId::from(agreement.offer.id);
        Self {
            id: id.to_string(),
            start: agreement.offer.slot.start.0,
            offer: agreement.offer.clone(),
            state: state.to_owned(),
            reason: reason.or(ending),
            due: Some(agreement.due()),
            buyer: Some(agreement.buyer.to_string()),
            runs_at: running.get(&id).map(|(address, _)| *address),
            steps: vec![(agreement.changed_at.0, format!("{state} since then"))],
            intervals: Vec::new(),
            texts: Vec::new(),
        }
    }

    pub(super) fn json(&self) -> Value {
        let steps = self
            .steps
            .iter()
            .map(|(at, what)| json!({"at": at, "what": what}));
        let intervals = self.intervals.iter();
        let intervals = intervals.map(|interval| levels::object(interval, &self.offer));
        json!({
            "id": self.id,
            "site": self.offer.site.to_string(),
            "state": self.state,
            "reason": self.reason,
            "provider": self.offer.provider.to_string(),
            "buyer": self.buyer,
            "start": self.offer.slot.start.0,
            "end": self.offer.slot.end.0,
            "price_per_second": self.offer.price_per_second.units.to_string(),
            "text_hash": self.offer.sla.text_hash.to_string(),
            "texts": self.texts,
            "stake": self.offer.guarantee.stake.to_string(),
            "arbiter": self.offer.guarantee.arbiter.map(|arbiter| arbiter.to_string()),
            "told": conditions(&self.offer.conditions),
            "deposit": self.deposit().map(|deposit| deposit.units.to_string()),
            "due": self.due.map(|due| due.units.to_string()),
            "runs_at": self.runs_at,
            "steps": steps.collect::<Vec<_>>(),
            "intervals": intervals.collect::<Vec<_>>(),
        })
    }

    /// Everything, one thing a line.
    pub(super) fn account(&self) -> String {
        let offer = &self.offer;
        let mut text = format!("agreement {}\n", self.id);
        let mut line = |name: &str, value: String| {
            let _infallible = writeln!(text, "  {name:<10} {value}");
        };
        line("site", offer.site.to_string());
        let because = self.reason.as_ref().map(|reason| format!(": {reason}"));
        line(
            "state",
            format!("{}{}", self.state, because.unwrap_or_default()),
        );
        line("provider", offer.provider.to_string());
        if let Some(buyer) = &self.buyer {
            line("buyer", buyer.clone());
        }
        line(
            "slot",
            format!(
                "{} s from {} to {} (UTC seconds)",
                offer.slot.seconds(),
                offer.slot.start.0,
                offer.slot.end.0
            ),
        );
        let deposit = self.deposit().map(|deposit| format!(", {deposit} in all"));
        line(
            "price",
            format!(
                "{} per second{}",
                offer.price_per_second,
                deposit.unwrap_or_default()
            ),
        );
        if let Some(due) = self.due {
            line("due", format!("{due} by the buyer's last receipt"));
        }
        line(
            "promised",
            format!(
                "{:.4} % available, {}a receipt every {} s, {} s of notice, text {}",
                f64::from(offer.sla.availability_ppm) / 1e4,
                match offer.sla.round_trip_ms {
                    0 => String::new(),
                    promise => format!("{promise} ms to clients, "),
                },
                offer.sla.receipt_interval_seconds,
                offer.sla.notice_seconds,
                offer.sla.text_hash
            ),
        );
        line(
            "backed",
            format!(
                "by a stake of {}, disputes {}",
                Amount {
                    units: offer.guarantee.stake,
                    ..offer.price_per_second
                },
                offer.guarantee.arbiter.map_or_else(
                    || "divided by time".to_owned(),
                    |arbiter| format!("ruled by {arbiter}"),
                )
            ),
        );
        for file in &self.texts {
            line("text in", file.display().to_string());
        }
        if let Some(told) = conditions(&offer.conditions) {
            line("told", told);
        }
        line(
            "settled",
            match &offer.settlement {
                Settlement::Contact(contact) => format!("by people: {contact}"),
                Settlement::Allowance => "out of what was paid in advance".to_owned(),
                Settlement::Escrow { chain, contract } => {
                    format!("by escrow {contract} on chain {}", chain.0)
                }
            },
        );
        if let Some(address) = self.runs_at {
            line("runs at", address.to_string());
        }
        for interval in &self.intervals {
            let name = format!("{}", interval.until.0);
            line(&name, levels::line(interval, offer));
        }
        for (at, what) in &self.steps {
            line(&at.to_string(), what.clone());
        }
        text.trim_end().to_owned()
    }

    fn deposit(&self) -> Option<Amount> {
        let price = self.offer.price_per_second;
        price.times(self.offer.slot.seconds()).ok()
    }
}

/// What the provider says of its site, if anything. Nothing of it was measured.
fn conditions(conditions: &SiteConditions) -> Option<String> {
    let content = &conditions.content;
    let refused: Vec<_> = content.refuses.iter().map(ToString::to_string).collect();
    let all = [
        conditions.region.map(|region| format!("in {region}")),
        conditions
            .tee
            .as_ref()
            .map(|tee| format!("runs in {tee} (claimed, not attested)")),
        (!refused.is_empty()).then(|| format!("refuses {}", refused.join(", "))),
        content
            .text_hash
            .map(|text| format!("content policy {text}")),
        content.text_url.as_ref().map(|url| format!("see {url}")),
    ];
    let told: Vec<_> = all.into_iter().flatten().collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// One line for each.
pub(super) fn table(all: &[Told]) -> String {
    let mut lines = vec![format!(
        "{:<18}  {:<32}  {:<10}  {:>11}  {:>6}  why",
        "id", "site", "state", "start", "length"
    )];
    for told in all {
        lines.push(format!(
            "{:<18}  {:<32}  {:<10}  {:>11}  {:>4} s  {}",
            told.id.chars().take(18).collect::<String>(),
            told.offer.site.to_string(),
            told.state,
            told.start,
            told.offer.slot.seconds(),
            told.reason.as_deref().unwrap_or_default(),
        ));
    }
    lines.join("\n")
}
