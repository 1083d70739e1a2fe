//! A provider and an orchestrator that agree, serve and settle without any chain, as two strangers to each other's books.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;
mod world;

use edge_negotiation::NegotiationState;
use edge_orchestrator::agreements::ImportRefusal;
use edge_orchestrator::journal::Written;
use edge_types::{AgreementState, RejectReason};
use world::{LEASE_SECONDS, PRICE, World};

const PAID_AHEAD: u128 = 5 * PRICE * LEASE_SECONDS as u128;

fn state(written: &Written) -> &NegotiationState {
    &written.record.state
}

/// Both books say the same of it, something was served, and the account holds what was not spent.
fn adds_up(world: &World, agreements: &[Written]) {
    adds_up_to(world, agreements, PAID_AHEAD);
}

fn adds_up_to(world: &World, agreements: &[Written], paid: u128) {
    let mut spent = 0;
    let (ours, theirs) = (world.book_of_buyer(), world.book_of_provider());
    for written in agreements {
        assert_eq!(
            *state(written),
            NegotiationState::Settled,
            "{:?}",
            written.steps
        );
        let record = theirs.record(written.id()).unwrap();
        assert_eq!(record.state, AgreementState::Settled);
        assert_eq!(ours.record(written.id()).unwrap().refunded, record.refunded);
        let due = record.deposit.units - record.refunded.units;
        assert!(due > 0, "it served: {:?}", written.steps);
        spent += due;
    }
    // What people agreed on is paid elsewhere.
    let left = paid.saturating_sub(spent);
    assert_eq!(theirs.left(world.buyer()), left);
    assert_eq!(ours.left(world.provider()), left);
    assert!(theirs.open_agreements().is_empty());
}

#[test]
fn an_allowance_pays_for_a_lease_and_what_is_not_used_is_back_in_it() {
    let world = World::new("settlement = \"allowance\"", PAID_AHEAD, PAID_AHEAD);
    let _provider = world.start_provider();
    let buyer = world.start_buyer();
    buyer.rent();
    let over = buyer.until(|written| state(written).is_final());
    drop(buyer);
    adds_up(&world, &[over]);
}

#[test]
fn each_side_goes_on_from_its_own_book_after_it_was_killed() {
    let world = World::new("settlement = \"allowance\"", PAID_AHEAD, PAID_AHEAD);
    let provider = world.start_provider();
    let buyer = world.start_buyer();
    buyer.rent();
    buyer.until(|written| *state(written) == NegotiationState::Running);
    drop(provider);
    drop(buyer);
    let spent = world.book_of_provider().left(world.buyer());
    assert_eq!(spent, PAID_AHEAD - PRICE * u128::from(LEASE_SECONDS));
    let _provider = world.start_provider();
    let buyer = world.start_buyer();
    let over = buyer.until(|written| state(written).is_final());
    drop(buyer);
    adds_up(&world, &[over]);
}

#[test]
fn a_provider_holds_nothing_for_whom_the_account_does_not_cover() {
    let world = World::new("settlement = \"allowance\"", PRICE, PAID_AHEAD);
    let provider = world.start_provider();
    let buyer = world.start_buyer();
    buyer.rent();
    let over = buyer.until(|written| state(written).is_final());
    let no = NegotiationState::Rejected(RejectReason::NotFunded);
    assert_eq!(*state(&over), no);
    drop((provider, buyer));
    assert_eq!(world.book_of_provider().left(world.buyer()), PRICE);
    assert_eq!(world.book_of_buyer().record(over.id()), None);
}

#[test]
fn a_buyer_pays_no_stranger_out_of_what_another_was_paid() {
    let world = World::new("settlement = \"allowance\"", PAID_AHEAD, 0);
    let _provider = world.start_provider();
    let buyer = world.start_buyer();
    let said = buyer.ask();
    assert!(said.contains("allowance"), "{said}");
}

const BY_CONTACT: &str = "contact = \"mailto:noc@isp.example\"";

#[test]
fn a_contract_that_people_made_is_served_and_settled_over_restarts_of_both_sides() {
    let world = World::new(BY_CONTACT, 0, 0);
    let (id, contract) = world.contract();
    let provider = world.start_provider();
    let buyer = world.start_buyer();
    // Waits for people, and is not in the way of what they bring.
    buyer.rent();
    let waits = buyer.until(|written| *state(written) == NegotiationState::AwaitingContract);
    let told = waits.steps.last().unwrap().1.clone();
    assert_eq!(told, "awaiting contract: contact mailto:noc@isp.example");
    let site = &buyer.site.candidate.id;
    assert!(buyer.agreements.holds(site) && buyer.agreements.open() == 0);
    for _ in 0..2 {
        assert_eq!(
            buyer.import(&contract).unwrap(),
            id,
            "once or twice is the same"
        );
    }
    let by_admin = buyer.import_by_admin(&contract, "?address=192.0.2.1:8080");
    assert!(by_admin.starts_with("HTTP/1.1 200"), "{by_admin}");
    assert!(by_admin.contains(&format!("\"{id}\"")), "{by_admin}");
    let is_ours = |written: &Written| written.id() == id;
    buyer.until(|written| is_ours(written) && *state(written) == NegotiationState::Running);
    drop((provider, buyer));
    let _provider = world.start_provider();
    let buyer = world.start_buyer();
    let over = buyer.until(|written| is_ours(written) && state(written).is_final());
    let gone = buyer.until(|written| written.id() == waits.id() && state(written).is_final());
    assert!(matches!(state(&gone), NegotiationState::Failed(_)));
    drop(buyer);
    adds_up_to(&world, &[over], 0);
}

#[test]
fn a_known_partner_is_neither_looked_for_nor_asked_for_an_offer() {
    let world = World::new(BY_CONTACT, 0, 0);
    let (id, contract) = world.contract();
    world.name_partner(&contract);
    let _provider = world.start_provider();
    let buyer = world.start_buyer();
    let over = buyer.until(|written| state(written).is_final());
    assert_eq!(over.id(), id);
    drop(buyer);
    adds_up_to(&world, &[over], 0);
}

#[test]
fn a_provider_takes_up_at_its_start_what_people_left_for_it() {
    let world = World::new(BY_CONTACT, 0, 0);
    let (id, contract) = world.contract();
    world.leave_with_provider(&contract);
    let provider = world.start_provider();
    drop(provider);
    let record = world.book_of_provider().record(id).unwrap();
    assert_eq!(record.state, AgreementState::Confirmed);
    assert_eq!(record.buyer, world.buyer());
}

#[test]
fn a_contract_that_one_has_not_signed_is_not_taken_up() {
    let (world, other) = (World::new(BY_CONTACT, 0, 0), World::new(BY_CONTACT, 0, 0));
    let buyer = world.start_buyer();
    let (_, contract) = world.contract();
    let text = String::from_utf8(contract).unwrap();
    let (unsigned, _) = text.rsplit_once(",\"acceptance\"").unwrap();
    let unsigned = buyer.import(format!("{unsigned}}}").as_bytes());
    assert!(
        matches!(unsigned, Err(ImportRefusal::NotSigned)),
        "{unsigned:?}"
    );
    let (_, of_others) = other.contract();
    let of_others = buyer.import(&of_others);
    assert!(
        matches!(of_others, Err(ImportRefusal::Signature(_))),
        "{of_others:?}"
    );
    let cheaper = text.replace(&PRICE.to_string(), "1");
    let cheaper = buyer.import(cheaper.as_bytes());
    assert!(
        matches!(cheaper, Err(ImportRefusal::Signature(_))),
        "{cheaper:?}"
    );
    assert!(matches!(
        buyer.import(b"{}"),
        Err(ImportRefusal::Malformed(_))
    ));
    let by_admin = buyer.import_by_admin(b"{}", "");
    assert!(by_admin.starts_with("HTTP/1.1 400"), "{by_admin}");
}

/// Security rule 7: a machine that answers every health check without running anything serves nobody.
#[test]
fn who_only_pretends_to_run_the_container_is_sent_no_clients() {
    let mut world = World::new("settlement = \"allowance\"", PAID_AHEAD, PAID_AHEAD);
    world.pretends = true;
    let _provider = world.start_provider();
    let buyer = world.start_buyer();
    buyer.rent();
    let refused = |written: &Written| {
        let mut steps = written.steps.iter();
        steps.any(|(_, step)| step.contains("has not the container's key"))
    };
    buyer.until(refused);
    let left = buyer.until(|written| *state(written) == NegotiationState::Settling);
    let ran = left.steps.iter().any(|(_, step)| step == "running");
    assert!(!ran && left.record.served.is_zero(), "{:?}", left.steps);
}
