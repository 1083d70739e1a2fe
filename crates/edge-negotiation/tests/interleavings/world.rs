//! What there is between the parties: time, a lossy network, a ledger, and what they wrote down.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use edge_negotiation::escrow::{Call, Escrow};
use edge_negotiation::{
    Action, Agreement, BookLimits, Change, GreenListPolicy, KeyBinding, Negotiation,
    NegotiationRecord, NegotiationState, Now, Pace, ProviderBook, Reservation,
};
use edge_types::{
    AgreementId, Amount, Asset, ChainAddress, ChainTime, Confirmation, MonotonicTime, Offer,
    OfferId, Preferences, RejectReason, ReservationId, Slot, UtcTime,
};

use crate::parties::{ARBITER, ESCROW, Habit, LEASE, START, preferences, slot, terms};

/// xorshift64*: enough chance for a test, and the same on every machine.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// What travels, to or from the provider, for buyer number `.0`.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few at a time")]
pub(crate) enum Packet {
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
pub(crate) struct Written {
    pub(crate) reservations: BTreeMap<OfferId, Reservation>,
    pub(crate) agreements: BTreeMap<AgreementId, Agreement>,
    pub(crate) negotiations: BTreeMap<usize, NegotiationRecord>,
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

/// Reservations end soon here, and a payment is in the escrow at once.
fn pace() -> Pace {
    Pace {
        payment_lead_seconds: 1,
        ..Pace::default()
    }
}

pub(crate) struct World {
    pub(crate) chance: Chance,
    pub(crate) loss: u64,
    /// Of a thousand times that something was written down, the process dies so often before it acts.
    pub(crate) crashes: u64,
    /// Of a thousand steps, in so many the provider's owner takes back all that runs.
    pub(crate) reclaims: u64,
    pub(crate) habits: Vec<Habit>,
    /// How many health checks in a row each buyer took for bad.
    pub(crate) doubts: Vec<u32>,
    pub(crate) vanished: BTreeSet<usize>,
    pub(crate) claims: u32,
    pub(crate) disputes: u32,
    pub(crate) has_arbiter: bool,
    pub(crate) written: Written,
    pub(crate) limits: BookLimits,
    pub(crate) wanted: Vec<(GreenListPolicy, Preferences)>,
    pub(crate) paid: BTreeMap<AgreementId, u32>,
    pub(crate) now: Now,
    pub(crate) buyers: Vec<Negotiation>,
    pub(crate) book: ProviderBook,
    pub(crate) escrow: Escrow,
    pub(crate) packets: Vec<Packet>,
    pub(crate) genuine: BTreeSet<OfferId>,
    pub(crate) offers: BTreeMap<AgreementId, Offer>,
    pub(crate) leases: u32,
    pub(crate) answer_seconds: u32,
    pub(crate) serial: u8,
}

impl World {
    pub(crate) fn new(seed: u64, loss: u64, leases: u32, wanted: &[(u64, u64)]) -> Self {
        let wanted = (1u8..).zip(wanted).map(|(buyer, &(start, length))| {
            let slot = slot(30 + start, 30 + start + length);
            let policy = GreenListPolicy {
                min_key_binding: KeyBinding::Dns,
                accepted_arbiters: [ARBITER].into(),
                min_receipt_interval_seconds: 10,
                ..GreenListPolicy::new(slot, LEASE, Amount::wei(100), Some(ESCROW))
            };
            (policy, preferences(buyer, slot))
        });
        let wanted: Vec<_> = wanted.collect();
        let buyers = wanted.iter().map(|(policy, preferences)| {
            Negotiation::new(pace(), policy.clone(), preferences.clone())
        });
        let limits = BookLimits {
            time_to_commit_seconds: 2 + seed % 40,
            keep_closed_seconds: 30 * 86_400,
            ..BookLimits::default()
        };
        let answer_seconds = if seed % 2 == 0 { 0 } else { 120 };
        let has_arbiter = seed % 3 == 0;
        Self {
            crashes: 0,
            reclaims: 0,
            habits: vec![Habit::Honest; wanted.len()],
            doubts: vec![0; wanted.len()],
            vanished: BTreeSet::new(),
            claims: 0,
            disputes: 0,
            has_arbiter,
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
            book: ProviderBook::new(limits, [terms(leases, answer_seconds, has_arbiter)]),
            escrow: Escrow::default(),
            packets: Vec::new(),
            genuine: BTreeSet::new(),
            offers: BTreeMap::new(),
            leases,
            answer_seconds,
            serial: 0,
        }
    }

    pub(crate) fn chain_now(&self) -> ChainTime {
        ChainTime(self.now.utc.0)
    }

    pub(crate) fn call(&self, caller: ChainAddress) -> Call {
        Call {
            now: self.chain_now(),
            caller,
        }
    }

    pub(crate) fn address(buyer: usize) -> ChainAddress {
        ChainAddress([u8::try_from(buyer + 1).unwrap(); 20])
    }

    pub(crate) fn id(&mut self) -> [u8; 32] {
        self.serial += 1;
        [self.serial; 32]
    }

    pub(crate) fn run(&mut self) {
        for buyer in &mut self.buyers {
            buyer.start(self.now);
        }
        // Fine steps while something happens, and coarse ones once only windows of hours and days are left.
        for step in 0..7_200 {
            let step_ms = match step {
                0..3_000 => self.chance.below(400),
                3_000..6_000 => 4_000,
                _ => 400_000,
            };
            self.now.monotonic = self.now.monotonic.after(Duration::from_millis(step_ms));
            self.now.utc = UtcTime(START + self.now.monotonic.0.as_secs());
            self.interfere();
            for buyer in 0..self.buyers.len() {
                let runs = *self.buyers[buyer].state() == NegotiationState::Running;
                if runs && self.habits[buyer] == Habit::Vanishes && self.chance.percent(1) {
                    self.vanished.insert(buyer);
                }
                if self.vanished.contains(&buyer) {
                    continue;
                }
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
    pub(crate) fn provider_dies(&mut self) -> bool {
        let changes = self.book.take_changes();
        self.written.take(changes);
        let dies = self.chance.below(1000) < self.crashes;
        if dies {
            let terms = terms(self.leases, self.answer_seconds, self.has_arbiter);
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
    pub(crate) fn buyer_dies(&mut self, buyer: usize) -> bool {
        if let Some(record) = self.buyers[buyer].record(self.now) {
            self.written.negotiations.insert(buyer, record);
        }
        let dies = self.chance.below(1000) < self.crashes;
        if dies {
            self.buyers[buyer] = if let Some(record) = self.written.negotiations.get(&buyer) {
                Negotiation::resume(pace(), record.clone(), self.now)
            } else {
                let (policy, preferences) = self.wanted[buyer].clone();
                let mut anew = Negotiation::new(pace(), policy, preferences);
                anew.start(self.now);
                anew
            };
        }
        dies
    }
    /// What holds at every step.
    pub(crate) fn check(&self) {
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
