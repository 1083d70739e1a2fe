//! Both machines, a lossy network and the reference escrow, in every order that chance finds.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use edge_negotiation::escrow::{Call, Escrow, ReceiptClaim};
use edge_negotiation::{
    Action, Agreement, Answer, BookLimits, Change, Ending, Evidence, GreenListPolicy, KeyBinding,
    Negotiation, NegotiationRecord, NegotiationState, Now, Pace, ProviderAction, ProviderBook,
    Reservation, SiteTerms,
};
use edge_types::{
    AgreementId, AgreementState, Amount, Asset, ChainAddress, ChainId, ChainTime, Confirmation,
    Generation, Guarantee, HardwareProfile, Hash32, IepId, MonotonicTime, Offer, OfferId,
    Preferences, Receipt, RejectReason, ReservationId, ResourceLimits, Settlement, Signature,
    SlaTerms, Slot, UtcTime,
};
use proptest::prelude::*;

const PROVIDER: ChainAddress = ChainAddress([0xee; 20]);
const ESCROW: (ChainId, ChainAddress) = (ChainId(1337), ChainAddress([0xcc; 20]));
const START: u64 = 1_000_000;
const LEASE: HardwareProfile = HardwareProfile {
    milli_cpu: 500,
    memory_bytes: 100,
    pids: 10,
};
const LIMITS: ResourceLimits = ResourceLimits {
    milli_cpu: 500,
    memory_bytes: 100,
    pids: 10,
};

fn site() -> IepId {
    IepId {
        host: "edge.isp.example".parse().unwrap(),
        port: 80,
    }
}

/// `answer_seconds` of 0: confirmed by signature, as part of the reservation; else on the ledger.
fn terms(leases: u32, answer_seconds: u32) -> SiteTerms {
    SiteTerms {
        site: site(),
        provider: PROVIDER,
        capacity: HardwareProfile {
            milli_cpu: 500 * leases,
            memory_bytes: 100 * u64::from(leases),
            pids: 10 * leases,
        },
        price_per_second: Amount::wei(100),
        sla: SlaTerms {
            text_hash: Hash32([1; 32]),
            availability_ppm: 950_000,
            receipt_interval_seconds: 10,
            notice_seconds: 5,
        },
        guarantee: Guarantee {
            answer_seconds,
            ..Guarantee::default()
        },
        settlement: Settlement::Escrow {
            chain: ESCROW.0,
            contract: ESCROW.1,
        },
        accepts: true,
    }
}

fn preferences(buyer: u8, slot: Slot) -> Preferences {
    Preferences {
        application: "shop".to_owned(),
        buyer: ChainAddress([buyer; 20]),
        slot,
        hardware: LEASE,
        price_ceiling_per_second: Amount::wei(100),
        expected_requests_per_second: 1,
    }
}

fn slot(start: u64, end: u64) -> Slot {
    Slot {
        start: UtcTime(START + start),
        end: UtcTime(START + end),
    }
}

/// xorshift64*: enough chance for a test, and the same on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// What travels, to or from the provider, for buyer number `.0`.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few at a time")]
enum Packet {
    Ask(usize, Action),
    Offers(usize, Vec<Offer>),
    Reserved(usize, ReservationId, UtcTime, Option<Confirmation>),
    Acknowledged(usize),
    Refused(usize, RejectReason),
    Done(usize),
    Health(usize, bool),
    /// The connection ended without an answer.
    Broken(usize),
}

/// What both sides wrote down, as it would be on their disks.
#[derive(Default)]
struct Written {
    reservations: BTreeMap<OfferId, Reservation>,
    agreements: BTreeMap<AgreementId, Agreement>,
    negotiations: BTreeMap<usize, NegotiationRecord>,
}

impl Written {
    fn take(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Reservation(id, Some(held)) => drop(self.reservations.insert(id, *held)),
                Change::Reservation(id, None) => drop(self.reservations.remove(&id)),
                Change::Agreement(id, Some(it)) => drop(self.agreements.insert(id, *it)),
                Change::Agreement(id, None) => drop(self.agreements.remove(&id)),
            }
        }
    }
}

struct World {
    chance: Chance,
    loss: u64,
    /// Of a thousand times that something was written down, the process dies so often before it acts.
    crashes: u64,
    written: Written,
    limits: BookLimits,
    wanted: Vec<(GreenListPolicy, Preferences)>,
    paid: BTreeMap<AgreementId, u32>,
    now: Now,
    buyers: Vec<Negotiation>,
    book: ProviderBook,
    escrow: Escrow,
    packets: Vec<Packet>,
    genuine: BTreeSet<OfferId>,
    offers: BTreeMap<AgreementId, Offer>,
    leases: u32,
    answer_seconds: u32,
    serial: u8,
}

impl World {
    fn new(seed: u64, loss: u64, leases: u32, wanted: &[(u64, u64)]) -> Self {
        let wanted = (1u8..).zip(wanted).map(|(buyer, &(start, length))| {
            let slot = slot(30 + start, 30 + start + length);
            let policy = GreenListPolicy {
                min_key_binding: KeyBinding::Dns,
                ..GreenListPolicy::new(slot, LEASE, Amount::wei(100), ESCROW)
            };
            (policy, preferences(buyer, slot))
        });
        let wanted: Vec<_> = wanted.collect();
        let buyers = wanted.iter().map(|(policy, preferences)| {
            Negotiation::new(Pace::default(), policy.clone(), preferences.clone())
        });
        let limits = BookLimits {
            time_to_commit_seconds: 2 + seed % 40,
            ..BookLimits::default()
        };
        let answer_seconds = if seed % 2 == 0 { 0 } else { 120 };
        Self {
            crashes: 0,
            written: Written::default(),
            limits,
            paid: BTreeMap::new(),
            chance: Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            loss,
            now: Now {
                monotonic: MonotonicTime::ZERO,
                utc: UtcTime(START),
            },
            buyers: buyers.collect(),
            wanted,
            book: ProviderBook::new(limits, [terms(leases, answer_seconds)]),
            escrow: Escrow::default(),
            packets: Vec::new(),
            genuine: BTreeSet::new(),
            offers: BTreeMap::new(),
            leases,
            answer_seconds,
            serial: 0,
        }
    }

    fn chain_now(&self) -> ChainTime {
        ChainTime(self.now.utc.0)
    }

    fn call(&self, caller: ChainAddress) -> Call {
        Call {
            now: self.chain_now(),
            caller,
        }
    }

    fn address(buyer: usize) -> ChainAddress {
        ChainAddress([u8::try_from(buyer + 1).unwrap(); 20])
    }

    fn id(&mut self) -> [u8; 32] {
        self.serial += 1;
        [self.serial; 32]
    }

    fn run(&mut self) {
        for buyer in &mut self.buyers {
            buyer.start(self.now);
        }
        // Fine steps while something happens, and coarse ones once only the challenge window is left.
        for step in 0..6_000 {
            let step_ms = if step < 3_000 {
                self.chance.below(400)
            } else {
                4_000
            };
            self.now.monotonic = self.now.monotonic.after(Duration::from_millis(step_ms));
            self.now.utc = UtcTime(START + self.now.monotonic.0.as_secs());
            for buyer in 0..self.buyers.len() {
                if *self.buyers[buyer].state() == NegotiationState::Offered {
                    self.buyers[buyer].select(self.now);
                }
                while let Some(action) = self.buyers[buyer].poll_action(self.now) {
                    if !self.buyer_dies(buyer) {
                        self.act(buyer, action);
                    }
                }
            }
            for _ in 0..self.packets.len() {
                let at = usize::try_from(self.chance.below(self.packets.len() as u64)).unwrap();
                let packet = self.packets.swap_remove(at);
                if self.chance.percent(self.loss) {
                    continue;
                }
                if self.chance.percent(10) {
                    self.deliver(packet.clone());
                }
                self.deliver(packet);
            }
            while let Some(action) = self.book.poll_action(self.now.utc) {
                if !self.provider_dies() {
                    self.provide(action);
                }
            }
            self.check();
        }
    }

    /// Writes the provider's decisions down; then perhaps it dies before it acts, and begins anew from what is written.
    fn provider_dies(&mut self) -> bool {
        let changes = self.book.take_changes();
        self.written.take(changes);
        let dies = self.chance.below(1000) < self.crashes;
        if dies {
            let terms = terms(self.leases, self.answer_seconds);
            self.book = ProviderBook::new(self.limits, [terms]);
            let (held, agreed) = (&self.written.reservations, &self.written.agreements);
            self.book.resume(
                held.values().cloned(),
                agreed.values().cloned(),
                self.now.utc,
            );
        }
        dies
    }

    /// The same for a buyer.
    fn buyer_dies(&mut self, buyer: usize) -> bool {
        if let Some(record) = self.buyers[buyer].record(self.now) {
            self.written.negotiations.insert(buyer, record);
        }
        let dies = self.chance.below(1000) < self.crashes;
        if dies {
            self.buyers[buyer] = if let Some(record) = self.written.negotiations.get(&buyer) {
                Negotiation::resume(Pace::default(), record.clone(), self.now)
            } else {
                let (policy, preferences) = self.wanted[buyer].clone();
                let mut anew = Negotiation::new(Pace::default(), policy, preferences);
                anew.start(self.now);
                anew
            };
        }
        dies
    }

    /// A buyer's action: on the ledger at once, to the provider by packet.
    fn act(&mut self, buyer: usize, action: Action) {
        let lost = self.chance.percent(self.loss);
        let (chain_now, now) = (self.chain_now(), self.now);
        match action {
            Action::Propose {
                offer,
                confirmation,
            } => {
                let offer = offer.offer().clone();
                assert!(
                    self.genuine.contains(&offer.id),
                    "paid an offer that nobody signed"
                );
                let (call, signer) = (self.call(Self::address(buyer)), Some(offer.provider));
                let price = offer.price_per_second.units * u128::from(offer.slot.seconds());
                let site = Hash32([0; 32]);
                let paid = self.chance.percent(100 - self.loss)
                    && match confirmation {
                        Some(Confirmation { until, .. }) => self
                            .escrow
                            .propose_confirmed(call, &offer, (until, signer), site, price)
                            .is_ok(),
                        None => self
                            .escrow
                            .propose(call, &offer, signer, site, price)
                            .is_ok(),
                    };
                *self.paid.entry(offer.id.into()).or_insert(0) += u32::from(paid);
                if !lost && paid {
                    self.buyers[buyer].handle_proposed(offer.id.into(), now);
                } else if !lost {
                    self.buyers[buyer].handle_not_proposed(now);
                } // else: nobody knows
            }
            Action::ReadLedger(id) => {
                if lost {
                    self.buyers[buyer].handle_failed(now);
                } else {
                    self.buyers[buyer].handle_ledger(self.escrow.agreement(id), chain_now, now);
                }
            }
            Action::CloseOnLedger(id) => {
                let done = !lost && self.escrow.close(chain_now, &self.offer(id)).is_ok();
                self.report(buyer, done);
            }
            Action::SettleOnLedger(id, due) => {
                let claim = ReceiptClaim {
                    due: due.units,
                    signer: Some(Self::address(buyer)),
                };
                let call = self.call(Self::address(buyer));
                let done = !lost && self.escrow.settle(call, &self.offer(id), claim).is_ok();
                self.report(buyer, done);
            }
            action => self.packets.push(Packet::Ask(buyer, action)),
        }
    }

    fn report(&mut self, buyer: usize, done: bool) {
        if done {
            self.buyers[buyer].handle_done(self.now);
        } else {
            self.buyers[buyer].handle_failed(self.now);
        }
    }

    fn deliver(&mut self, packet: Packet) {
        let now = self.now;
        match packet {
            Packet::Ask(buyer, action) => self.answer(buyer, action),
            Packet::Offers(buyer, offers) => {
                let forged = self.chance.percent(self.loss / 4);
                let offers = offers.into_iter().map(|mut offer| {
                    if forged {
                        offer.id = OfferId([0xff; 32]);
                    }
                    let evidence = Evidence {
                        signature_verified: self.genuine.contains(&offer.id),
                        key_binding: KeyBinding::Dns,
                        site: site(),
                    };
                    (offer, evidence)
                });
                let offers = offers.collect();
                self.buyers[buyer].handle_offers(offers, now);
            }
            Packet::Reserved(buyer, id, until, confirmation) => {
                self.buyers[buyer].handle_reserved(id, until, confirmation, now);
            }
            Packet::Acknowledged(buyer) => self.buyers[buyer].handle_acknowledged(now),
            Packet::Refused(buyer, reason) => self.buyers[buyer].handle_rejected(reason, now),
            Packet::Done(buyer) => self.buyers[buyer].handle_done(now),
            Packet::Health(buyer, healthy) => self.buyers[buyer].handle_health(healthy, now),
            Packet::Broken(buyer) => self.buyers[buyer].handle_failed(now),
        }
    }

    /// The provider's side of a request.
    fn answer(&mut self, buyer: usize, action: Action) {
        let (now, key) = (self.now.utc, Self::address(buyer));
        let reply = match action {
            Action::SendHello(preferences) => {
                let nonce = Hash32(self.id());
                self.book
                    .handle_hello(&site(), &preferences, now, nonce)
                    .map(|mut offers| {
                        for offer in &mut offers {
                            offer.id = OfferId(nonce.0);
                            offer.signature = Signature([1; 65]);
                            self.genuine.insert(offer.id);
                            self.offers.insert(offer.id.into(), offer.clone());
                        }
                        Packet::Offers(buyer, offers)
                    })
            }
            Action::Reserve(offer) => {
                let id = ReservationId(self.id());
                self.book
                    .handle_reservation(&offer, key, id, now)
                    .map(|(id, until)| {
                        let confirmed = offer.guarantee.answer_seconds == 0;
                        let confirmation = confirmed.then_some(Confirmation {
                            until,
                            signature: Signature([3; 65]),
                        });
                        Packet::Reserved(buyer, id, until, confirmation)
                    })
            }
            Action::Acknowledge { offer, .. } => {
                let id = AgreementId::from(offer.id);
                let record = self.escrow.agreement(id).cloned();
                self.book
                    .handle_agreement(&offer, key, record.as_ref(), now)
                    .map(|answer| {
                        self.tell_ledger(&offer, &answer);
                        Packet::Acknowledged(buyer)
                    })
            }
            Action::Deploy(id) => self
                .book
                .handle_deployment(id, key, Generation(1), &LIMITS, now)
                .map(|_| Packet::Done(buyer)),
            Action::CheckHealth(id) => {
                let serves = self.book.agreement(id).is_some_and(|agreement| {
                    agreement.is_serving() && agreement.generation == Generation(1)
                });
                let good = serves && self.chance.percent(97);
                Ok(Packet::Health(buyer, good))
            }
            Action::SendReceipt(id, due) => self
                .book
                .handle_receipt(receipt(id, due), now)
                .map(|()| Packet::Done(buyer)),
            Action::SettleWithReceipt(id, due) => self
                .book
                .handle_receipt(receipt(id, due), now)
                .and_then(|()| self.book.handle_close(id, key, now))
                .map(|()| Packet::Done(buyer)),
            other => panic!("{other:?} is not for the provider"),
        };
        let reply = reply.unwrap_or_else(|reason| Packet::Refused(buyer, reason));
        let dies = self.provider_dies();
        self.packets
            .push(if dies { Packet::Broken(buyer) } else { reply });
    }

    fn offer(&self, id: AgreementId) -> Offer {
        self.offers[&id].clone()
    }

    fn tell_ledger(&mut self, offer: &Offer, answer: &Answer) {
        if self.provider_dies() {
            return;
        }
        let id = offer.id.into();
        let call = self.call(PROVIDER);
        let lost = self.chance.percent(self.loss);
        match answer {
            Answer::Confirm if !lost => drop(self.escrow.confirm(call, offer)),
            Answer::Reject(_) if !lost => drop(self.escrow.reject(call, offer)),
            _ => {}
        }
        let state = self.escrow.agreement(id).map(|record| record.state);
        self.book.handle_answered(id, state, self.now.utc);
    }

    fn provide(&mut self, action: ProviderAction) {
        let (id, receipt) = match action {
            ProviderAction::Settle(id, receipt) => (id, receipt),
            ProviderAction::Tell(id, answer) => return self.tell_ledger(&self.offer(id), &answer),
            ProviderAction::Compare(id) => {
                if !self.chance.percent(self.loss) {
                    let state = self.escrow.agreement(id).map(|record| record.state);
                    self.book.handle_ledger(id, state, self.now.utc);
                }
                return;
            }
            ProviderAction::Drain(_) | ProviderAction::Stop(_) => return,
        };
        let buyer = self.book.agreement(id).unwrap().buyer;
        let claim = receipt.map(|receipt| ReceiptClaim {
            due: receipt.due.units,
            signer: Some(buyer),
        });
        if !self.chance.percent(self.loss) {
            let (offer, call) = (self.offer(id), self.call(PROVIDER));
            let _ = match claim {
                Some(claim) => self.escrow.settle(call, &offer, claim),
                None => self.escrow.close(call.now, &offer),
            };
        }
        let state = self.escrow.agreement(id).map(|record| record.state);
        self.book.handle_settled(id, state, self.now.utc);
    }

    /// What holds at every step.
    fn check(&self) {
        let sold: Vec<Slot> = self
            .book
            .agreements()
            .filter(|(_, agreement)| agreement.is_serving())
            .map(|(_, agreement)| Slot {
                end: agreement.ends_at(),
                ..agreement.offer.slot
            })
            .collect();
        for slot in &sold {
            let at_once = sold
                .iter()
                .filter(|other| other.start <= slot.start && slot.start < other.end)
                .count();
            assert!(
                at_once <= self.leases as usize,
                "{sold:?} are sold on {} leases",
                self.leases
            );
        }
        let totals = self.escrow.totals(Asset::Native);
        assert_eq!(
            totals.deposited.units,
            totals.released.units + totals.refunded.units + totals.burned.units + totals.held.units
        );
        for record in self.escrow.agreements() {
            assert!(self.genuine.contains(&OfferId(record.id.0)));
        }
    }
}

const fn receipt(agreement: AgreementId, due: Amount) -> Receipt {
    Receipt {
        agreement,
        due,
        signature: Signature([2; 65]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_interleaving_ends_well(
        seed: u64,
        loss in 0u64..40,
        crashes in prop_oneof![Just(0u64), 1u64..60],
        leases in 1u32..3,
        wanted in proptest::collection::vec((0u64..60, 20u64..90), 1..5),
    ) {
        let mut world = World::new(seed, loss, leases, &wanted);
        world.crashes = crashes;
        world.run();
        for buyer in &world.buyers {
            prop_assert!(buyer.state().is_final(), "still {:?}", buyer.state());
            prop_assert_ne!(
                buyer.state(),
                &NegotiationState::Failed(edge_negotiation::NegotiationFailure::LedgerSilent)
            );
        }
        for record in world.escrow.agreements() {
            prop_assert!(record.state.is_final(), "{record:?}");
        }
        prop_assert_eq!(world.escrow.totals(Asset::Native).held, Amount::wei(0));
        prop_assert!(world.paid.values().all(|times| *times <= 1), "{:?}", world.paid);
        prop_assert!(
            world.book.agreements().all(|(_, agreement)| !agreement.is_serving()),
            "hardware is held by an agreement that is over"
        );
    }
}

/// Both sides die every now and then, but nothing else goes wrong: the lease runs all the same, and is paid in full.
#[test]
fn processes_that_die_go_on_where_they_were() {
    let mut settled = 0;
    for seed in 1..30 {
        let mut world = World::new(seed, 0, 1, &[(0, 60)]);
        world.crashes = 20;
        world.run();
        let records: Vec<_> = world.escrow.agreements().collect();
        assert!(records.len() <= 1, "one hello, one payment");
        for record in records {
            assert!(record.state.is_final(), "{record:?}");
            settled += u32::from(record.released.units > 4_000);
        }
    }
    assert!(settled >= 20, "only {settled} of 29 leases ran");
}

/// Without loss, one buyer gets the whole way and pays for what was served; of two for the same hardware one does.
#[test]
fn a_calm_network_sells_the_slot_once() {
    let mut world = World::new(7, 0, 1, &[(0, 60)]);
    world.run();
    let record = world.escrow.agreements().next().unwrap();
    assert_eq!(record.state, AgreementState::Settled);
    assert!(record.released.units > 4_000, "{record:?}");

    let mut sold = BTreeSet::new();
    for seed in 1..20 {
        let mut world = World::new(seed, 0, 1, &[(0, 60), (10, 60)]);
        world.run();
        let settled = world
            .escrow
            .agreements()
            .filter(|record| record.state == AgreementState::Settled)
            .count();
        assert!(settled <= 1);
        sold.insert(settled);
    }
    assert!(sold.contains(&1), "nobody ever got the slot");
}

fn reserved(
    book: &mut ProviderBook,
    buyer: u8,
    nonce: u8,
    wanted: Slot,
    now: UtcTime,
) -> Result<Offer, RejectReason> {
    let mut offer = book
        .handle_hello(
            &site(),
            &preferences(buyer, wanted),
            now,
            Hash32([nonce; 32]),
        )?
        .remove(0);
    offer.id = OfferId([nonce; 32]);
    book.handle_reservation(
        &offer,
        ChainAddress([buyer; 20]),
        ReservationId([nonce; 32]),
        now,
    )
    .map(|_| offer)
}

/// Security rule 8: offers hold nothing, and unfunded reservations are capped per buyer and in all.
#[test]
fn unfunded_reservations_are_capped() {
    let now = UtcTime(START);
    let limits = BookLimits {
        reservations_per_buyer: 4,
        ..BookLimits::default()
    };
    let mut book = ProviderBook::new(limits, [terms(100, 0)]);
    for nonce in 1..=4 {
        assert!(reserved(&mut book, 1, nonce, slot(10, 50), now).is_ok());
    }
    let too_many = |held, limit| Err(RejectReason::TooManyReservations { held, limit });
    assert_eq!(reserved(&mut book, 1, 5, slot(10, 50), now), too_many(4, 4));
    for nonce in 5..=20 {
        assert!(
            reserved(&mut book, nonce, nonce, slot(10, 50), now).is_ok(),
            "{nonce}"
        );
    }
    assert_eq!(
        reserved(&mut book, 21, 21, slot(10, 50), now),
        too_many(20, 20)
    );
    let later = now.plus_seconds(121);
    assert!(
        reserved(&mut book, 21, 22, slot(130, 150), later).is_ok(),
        "reservations ran out"
    );
}

#[test]
fn a_taken_slot_is_offered_later_and_an_old_offer_not_at_all() {
    let now = UtcTime(START);
    let mut book = ProviderBook::new(BookLimits::default(), [terms(1, 120)]);
    let first = reserved(&mut book, 1, 1, slot(10, 50), now).unwrap();
    assert_eq!(first.slot, slot(10, 50));
    let second = book.handle_hello(&site(), &preferences(2, slot(20, 60)), now, Hash32([2; 32]));
    assert_eq!(second.unwrap()[0].slot, slot(50, 90));
    let mut old = first.clone();
    old.id = OfferId([3; 32]);
    old.slot = slot(500, 600);
    assert_eq!(
        book.handle_reservation(
            &old,
            PROVIDER,
            ReservationId([3; 32]),
            now.plus_seconds(301)
        ),
        Err(RejectReason::OfferExpired {
            seconds_ago: 301 - 50
        })
    );
    let mut dear = preferences(2, slot(20, 60));
    dear.price_ceiling_per_second = Amount::wei(99);
    assert!(matches!(
        book.handle_hello(&site(), &dear, now, Hash32([2; 32])),
        Err(RejectReason::Policy { .. })
    ));
}

fn confirmed() -> (ProviderBook, AgreementId) {
    let now = UtcTime(START);
    let limits = BookLimits {
        patience_at_least_seconds: 30,
        compare_seconds: 5_000,
        ..BookLimits::default()
    };
    let mut book = ProviderBook::new(limits, [terms(1, 120)]);
    let offer = reserved(&mut book, 1, 1, slot(10, 50), now).unwrap();
    let id = offer.id.into();
    let record = edge_types::AgreementRecord {
        id,
        buyer: ChainAddress([1; 20]),
        provider: PROVIDER,
        slot: offer.slot,
        site_hash: Hash32([0; 32]),
        price_per_second: offer.price_per_second,
        deposit: Amount::wei(4_000),
        state: AgreementState::Proposed,
        deadline: Some(ChainTime(START + 60)),
        ends_at: offer.slot.end,
        claim: None,
        released: Amount::wei(0),
        refunded: Amount::wei(0),
        burned: Amount::wei(0),
    };
    let mut ask = |buyer: u8, record: Option<&edge_types::AgreementRecord>| {
        book.handle_agreement(&offer, ChainAddress([buyer; 20]), record, now)
    };
    assert_eq!(ask(1, None), Err(RejectReason::NotFunded));
    let cheap = edge_types::AgreementRecord {
        price_per_second: Amount::wei(1),
        ..record.clone()
    };
    assert_eq!(ask(1, Some(&cheap)), Err(RejectReason::NotFunded));
    assert!(matches!(
        ask(2, Some(&record)),
        Err(RejectReason::NotAuthorised { .. })
    ));
    assert_eq!(ask(1, Some(&record)), Ok(Answer::Confirm));
    assert_eq!(
        ask(1, Some(&record)),
        Ok(Answer::Known(AgreementState::Proposed))
    );
    book.handle_answered(id, Some(AgreementState::Confirmed), now);
    (book, id)
}

#[test]
fn deployments_are_for_the_buyer_in_time_within_limits_and_never_go_back() {
    let (mut book, id) = confirmed();
    let mut deploy = |buyer: u8, generation, limits: &ResourceLimits, at| {
        let now = UtcTime(START + at);
        book.handle_deployment(
            id,
            ChainAddress([buyer; 20]),
            Generation(generation),
            limits,
            now,
        )
    };
    assert_eq!(deploy(1, 2, &LIMITS, 0), Ok(true));
    assert_eq!(deploy(1, 2, &LIMITS, 0), Ok(false));
    assert_eq!(
        deploy(1, 1, &LIMITS, 0),
        Err(RejectReason::StaleGeneration {
            offered: 1,
            current: 2
        })
    );
    assert!(matches!(
        deploy(2, 3, &LIMITS, 0),
        Err(RejectReason::NotAuthorised { .. })
    ));
    let greedy = ResourceLimits { pids: 11, ..LIMITS };
    assert!(matches!(
        deploy(1, 3, &greedy, 0),
        Err(RejectReason::Policy { .. })
    ));
    assert!(matches!(
        deploy(1, 3, &LIMITS, 45),
        Err(RejectReason::Policy { .. })
    ));
}

#[test]
fn a_lease_drains_stops_and_settles_by_the_last_receipt() {
    let (mut book, id) = confirmed();
    let at = |seconds| UtcTime(START + seconds);
    assert_eq!(book.poll_action(at(10)), None);
    book.handle_receipt(receipt(id, Amount::wei(3_000)), at(35))
        .unwrap();
    book.handle_receipt(receipt(id, Amount::wei(2_000)), at(36))
        .unwrap();
    assert!(
        book.handle_receipt(receipt(id, Amount::wei(4_001)), at(36))
            .is_err()
    );
    assert_eq!(book.poll_timeout(), Some(at(45)));
    assert_eq!(book.poll_action(at(45)), Some(ProviderAction::Drain(id)));
    assert_eq!(book.poll_action(at(50)), Some(ProviderAction::Stop(id)));
    assert_eq!(book.poll_action(at(50)), None);
    book.handle_receipt(receipt(id, Amount::wei(4_000)), at(51))
        .unwrap();
    let last = receipt(id, Amount::wei(4_000));
    assert_eq!(
        book.poll_action(at(51)),
        Some(ProviderAction::Settle(id, Some(last)))
    );
    book.handle_settled(id, None, at(52));
    assert_eq!(book.poll_action(at(52)), None);
    assert_eq!(
        book.poll_action(at(54)),
        Some(ProviderAction::Settle(id, Some(last)))
    );
    book.handle_settled(id, Some(AgreementState::Settled), at(55));
    assert_eq!(book.agreement(id).unwrap().state, AgreementState::Settled);
    assert_eq!(book.poll_action(at(60)), None);
}

#[test]
fn a_silent_buyer_is_served_no_longer_and_settled_after_the_challenge_window() {
    let (mut book, id) = confirmed();
    let at = |seconds| UtcTime(START + seconds);
    assert_eq!(book.poll_action(at(40)), Some(ProviderAction::Drain(id)));
    assert_eq!(book.poll_action(at(45)), Some(ProviderAction::Stop(id)));
    assert_eq!(book.poll_action(at(3_650)), None);
    assert_eq!(
        book.poll_action(at(3_651)),
        Some(ProviderAction::Settle(id, None))
    );
}

/// Running and not paid ends at once where the ledger says so, and after a while where it says nothing, with the reason.
#[test]
fn what_the_ledger_does_not_pay_runs_no_longer() {
    let at = |seconds| UtcTime(START + seconds);
    let (mut book, id) = confirmed();
    book.handle_ledger(id, Some(AgreementState::Confirmed), at(20));
    assert_eq!(book.poll_action(at(20)), None);
    book.handle_ledger(id, Some(AgreementState::Settled), at(21));
    assert_eq!(book.poll_action(at(21)), Some(ProviderAction::Stop(id)));
    assert_eq!(book.agreement(id).unwrap().ending, Some(Ending::NotFunded));
    assert_eq!(book.poll_action(at(22)), None, "there is nothing to settle");

    let (mut book, id) = confirmed();
    for seconds in [12, 100, 191] {
        book.handle_ledger(id, None, at(seconds));
    }
    assert_eq!(book.agreement(id).unwrap().ending, None);
    book.handle_ledger(id, None, at(192));
    assert_eq!(
        book.agreement(id).unwrap().ending,
        Some(Ending::NotOnLedger)
    );
}

/// The ledger could not be told: the hardware stays held, and the answer is told again, by the next process too.
#[test]
fn an_answer_that_may_not_have_arrived_is_told_again() {
    let at = |seconds| UtcTime(START + seconds);
    let (book, id) = confirmed();
    let mut agreement = book.agreement(id).unwrap().clone();
    agreement.stage = edge_negotiation::Stage::Answering;
    agreement.state = AgreementState::Proposed;
    let mut book = ProviderBook::new(BookLimits::default(), [terms(1, 120)]);
    book.resume([], [agreement], at(1));
    assert_eq!(
        book.poll_action(at(1)),
        Some(ProviderAction::Tell(id, Answer::Confirm))
    );
    book.handle_answered(id, None, at(2));
    assert_eq!(book.poll_action(at(3)), None);
    let again = book.poll_action(at(12));
    assert_eq!(again, Some(ProviderAction::Tell(id, Answer::Confirm)));
    let other = book.handle_hello(
        &site(),
        &preferences(2, slot(20, 60)),
        at(12),
        Hash32([2; 32]),
    );
    assert_eq!(other.unwrap()[0].slot, slot(50, 90), "the hardware is held");
    book.handle_answered(id, Some(AgreementState::Confirmed), at(13));
    assert!(book.agreement(id).unwrap().is_serving());
}
