//! What is left behind, by the ledger's word and by both journals.

use edge_chain::LocalKey;
use edge_chain::dev;
use edge_orchestrator::journal::{self, Recovered, Written};
use edge_ports::Ledger;
use edge_provider::journal as provider_journal;
use edge_types::{AgreementId, Asset, Offer, UtcTime};
use libtest_mimic::Failed;

use crate::parts::ledger;
use crate::world::{BUYER_KEY, CHAIN, PROVIDER_KEY, World};

#[derive(Default)]
pub(crate) struct Verdict {
    pub(crate) agreements: usize,
    pub(crate) paid: usize,
    pub(crate) lost: Vec<String>,
    pub(crate) twice: Vec<String>,
    pub(crate) leaked: Vec<String>,
}

pub(crate) fn judge(world: &World) -> Verdict {
    world.runtime.block_on(async {
        let mut verdict = Verdict::default();
        let folder = world.folder.path();
        let written = Recovered::peek(&journal::journal_file(&folder.join("orchestrator")))
            .unwrap()
            .agreements;
        verdict.agreements = written.len();
        money(world, &written, &mut verdict).await;
        escrowed_twice(&written, &mut verdict);

        let file = provider_journal::journal_file(&folder.join("provider"));
        let provider = provider_journal::Recovered::peek(&file).unwrap();
        for agreement in provider.agreements {
            if agreement.is_serving() {
                let id = agreement.offer.id;
                verdict
                    .leaked
                    .push(format!("the provider still serves {id}"));
            }
        }
        for id in provider.deployments.keys() {
            verdict.leaked.push(format!("the provider still runs {id}"));
        }
        verdict
    })
}

/// Everything that was ever paid in is known to the buyer, was divided, and was taken out.
async fn money(world: &World, written: &[Written], verdict: &mut Verdict) {
    let rpc = format!("http://{}", world.rpc);
    let key = |file| LocalKey::read_plain(&world.folder.path().join(file)).unwrap();
    let ledger = |file| ledger(&rpc, CHAIN, dev::dev_escrow_address(), key(file));
    let (buyer, provider) = (ledger(BUYER_KEY), ledger(PROVIDER_KEY));
    let mut known = 0;
    for agreement in written {
        let id = agreement.id();
        let Some(record) = buyer.agreement(&agreement.record.offer).await.unwrap() else {
            continue;
        };
        known += record.deposit.units;
        verdict.paid += usize::from(record.released.units > 0);
        if !record.state.is_final() {
            verdict
                .lost
                .push(format!("{id} is still {:?}", record.state));
        }
        if !agreement.record.state.is_final() {
            let state = &agreement.record.state;
            verdict
                .lost
                .push(format!("the buyer has {id} as {state:?}"));
        }
    }
    let totals = buyer.totals(Asset::Native).await.unwrap();
    if totals.deposited.units != known {
        verdict.lost.push(format!(
            "{} was paid in, and the buyer knows of {known}",
            totals.deposited
        ));
    }
    if totals.held.units != 0 {
        verdict.lost.push(format!("{} is still held", totals.held));
    }
    for ledger in [&buyer, &provider] {
        ledger.withdraw(Asset::Native).await.unwrap();
    }
    let left = buyer.balance(dev::dev_escrow_address()).await.unwrap();
    if left != totals.burned && left.units != 0 {
        verdict.lost.push(format!(
            "the escrow keeps {left}, and {} was burned",
            totals.burned
        ));
    }
}

/// No site has money of ours twice at one time, but for a lease that is renewed before it ends.
fn escrowed_twice(written: &[Written], verdict: &mut Verdict) {
    let span = |agreement: &Written| {
        let paid = agreement
            .steps
            .iter()
            .find(|(_, what)| what == "proposed" || what == "paying")?;
        Some((paid.0, agreement.steps.last()?.0))
    };
    let renewable_from = |agreement: &Written| {
        let offer = &agreement.record.offer;
        let notice = u64::from(offer.sla.notice_seconds);
        offer.slot.end.0 - notice - offer.slot.seconds() / 4
    };
    let mut in_order: Vec<&Written> = written.iter().collect();
    in_order.sort_by_key(|agreement| span(agreement).map(|span| span.0));
    for (at, first) in in_order.iter().enumerate() {
        for second in &in_order[at + 1..] {
            let (Some(one), Some(two)) = (span(first), span(second)) else {
                continue;
            };
            let is_same_site = first.record.offer.site == second.record.offer.site;
            let is_renewal = two.0.0 >= renewable_from(first);
            if is_same_site && !is_renewal && one.0 < two.1 && two.0 < one.1 {
                verdict.twice.push(format!(
                    "{} and {} at {}",
                    first.id(),
                    second.id(),
                    first.record.offer.site
                ));
            }
        }
    }
}

/// The orchestrator left in time and says why; the provider has what it served, and the buyer the rest.
pub(crate) fn taken_back(world: &World, offer: &Offer, stop: UtcTime) -> Result<(), Failed> {
    let file = journal::journal_file(&world.folder.path().join("orchestrator"));
    let written = Recovered::peek(&file).unwrap().agreements;
    let id = AgreementId::from(offer.id);
    let written = written.iter().find(|written| written.id() == id).unwrap();
    let told = |what: &str| {
        written
            .steps
            .iter()
            .find(|(_, step)| step.starts_with(what))
    };
    let left = told("taken back").ok_or("not told that it is taken back")?;
    let drained = told("draining").ok_or("not drained")?;
    if left.0 > stop || drained.0 > stop {
        return Err(format!("left too late: {:?}", written.steps).into());
    }
    let key = LocalKey::read_plain(&world.folder.path().join(BUYER_KEY)).unwrap();
    let rpc = format!("http://{}", world.rpc);
    let ledger = ledger(&rpc, CHAIN, dev::dev_escrow_address(), key);
    let record = world.runtime.block_on(ledger.agreement(offer));
    let record = record.unwrap().unwrap();
    let served = stop.seconds_since(offer.slot.start);
    let most = offer.price_per_second.times(served).unwrap().units;
    let due = record.released.units + record.burned.units;
    if due == 0 || due > most {
        return Err(format!("{due} was paid for {served} s: {record:?}").into());
    }
    Ok(())
}
