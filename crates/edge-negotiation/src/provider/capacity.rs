//! How much hardware of a site is free, and when.

use edge_types::agreement::detail;
use edge_types::{ChainAddress, HardwareProfile, IepId, IpNet, Offer, RejectReason, Slot, UtcTime};

use super::{ProviderBook, Reservation, SiteTerms, for_buyer, policy, unexpired};

impl ProviderBook {
    /// May one more unfunded reservation hold this? All together hold a share of the site in any period, and those of one
    /// source half of that; beyond it only as many as the limits name, so that small sites can be reserved at all and not
    /// by one source alone.
    pub(super) fn check_share(
        &self,
        terms: &SiteTerms,
        offer: &Offer,
        source: IpNet,
        now: UtcTime,
    ) -> Result<(), RejectReason> {
        let unfunded: Vec<&Reservation> = self
            .reservations
            .values()
            .filter(|held| held.until > now && held.offer.site == offer.site)
            .filter(|held| held.offer.slot.overlaps(&offer.slot))
            .collect();
        let of_source = unfunded.iter().filter(|held| held.source == source);
        let of_source: Vec<&Reservation> = of_source.copied().collect();
        let percent = self.limits.unfunded_percent;
        let least = self.limits.unfunded_at_least;
        for (held, percent, least) in [
            (unfunded, percent, least),
            (of_source, percent / 2, least / 2),
        ] {
            let count = u32::try_from(held.len()).unwrap_or(u32::MAX);
            let hardware = held.iter().map(|held| &held.offer.hardware);
            let share = share(&terms.capacity, percent);
            if count >= least && fits(&share, &offer.hardware, hardware).is_err() {
                let limit = count;
                return Err(RejectReason::TooManyReservations { held: count, limit });
            }
        }
        Ok(())
    }

    /// What is held or sold at a site, with its period.
    pub(super) fn held_at<'a>(
        &'a self,
        site: &'a IepId,
        now: UtcTime,
    ) -> impl Iterator<Item = (Slot, HardwareProfile)> + 'a {
        let reservations = self
            .reservations
            .values()
            .filter(move |held| held.until > now)
            .map(|held| (&held.offer, held.offer.slot.end));
        let agreements = self
            .agreements
            .values()
            .filter(|agreement| agreement.reason.is_none() && agreement.holds_hardware())
            .map(|agreement| (&agreement.offer, agreement.ends_at));
        reservations
            .chain(agreements)
            .filter(move |(offer, _)| offer.site == *site)
            .map(|(offer, end)| (Slot { end, ..offer.slot }, offer.hardware))
    }

    /// Could this be an agreement of `buyer` now? For where nothing shows that it is one before we say so.
    pub fn has_room(
        &self,
        offer: &Offer,
        buyer: ChainAddress,
        now: UtcTime,
    ) -> Result<(), RejectReason> {
        let terms = self.terms(&offer.site)?;
        for_buyer(offer, buyer)?;
        if self.agreements.len() >= self.limits.agreements {
            return Err(policy(detail::FULL));
        }
        let held = self.reservations.get(&offer.id);
        if held.is_some_and(|held| held.buyer == buyer && held.until > now) {
            return Ok(());
        }
        if !terms.accepts {
            return Err(policy(detail::ACCEPTS_NOBODY));
        }
        unexpired(offer, now)?;
        self.check_free(terms, offer, now)
    }

    /// Offers that `buyer` holds without having taken them up.
    pub fn reserved_by(&self, buyer: ChainAddress, now: UtcTime) -> impl Iterator<Item = &Offer> {
        let held = self.reservations.values();
        let held = held.filter(move |held| held.buyer == buyer && held.until > now);
        held.map(|held| &held.offer)
    }

    pub(super) fn check_free(
        &self,
        terms: &SiteTerms,
        offer: &Offer,
        now: UtcTime,
    ) -> Result<(), RejectReason> {
        let held: Vec<_> = self.held_at(&terms.site, now).collect();
        is_free(terms, &offer.slot, &offer.hardware, &held)
    }

    /// `wanted`, or the earliest later slot of the same length in which `hardware` is free.
    pub(super) fn next_free(
        &self,
        terms: &SiteTerms,
        wanted: Slot,
        hardware: &HardwareProfile,
        now: UtcTime,
    ) -> Option<Slot> {
        let held: Vec<_> = self.held_at(&terms.site, now).collect();
        let mut starts: Vec<_> = held
            .iter()
            .map(|(slot, _)| slot.end)
            .filter(|end| {
                *end > wanted.start && end.seconds_since(now) <= self.limits.horizon_seconds
            })
            .collect();
        starts.push(wanted.start);
        starts.sort_unstable();
        starts
            .into_iter()
            .map(|start| Slot {
                start,
                end: start.plus_seconds(wanted.seconds()),
            })
            .find(|slot| is_free(terms, slot, hardware, &held).is_ok())
    }
}

/// Is `hardware` free at every second of `slot`, beside what is held? Usage only rises where something starts, so the
/// slot's own start and the starts within it are all that need a look.
fn is_free(
    terms: &SiteTerms,
    slot: &Slot,
    hardware: &HardwareProfile,
    held: &[(Slot, HardwareProfile)],
) -> Result<(), RejectReason> {
    let overlapping: Vec<_> = held
        .iter()
        .filter(|(other, _)| other.overlaps(slot))
        .collect();
    let starts = overlapping
        .iter()
        .map(|(other, _)| other.start.max(slot.start));
    for at in starts.chain([slot.start]) {
        let used = overlapping
            .iter()
            .filter(|(other, _)| other.start <= at && at < other.end)
            .map(|(_, hardware)| hardware);
        fits(&terms.capacity, hardware, used)?;
    }
    Ok(())
}

fn share(of: &HardwareProfile, percent: u32) -> HardwareProfile {
    let share = |whole: u64| whole.saturating_mul(percent.into()) / 100;
    let small = |whole: u32| u32::try_from(share(whole.into())).unwrap_or(u32::MAX);
    HardwareProfile {
        milli_cpu: small(of.milli_cpu),
        memory_bytes: share(of.memory_bytes),
        pids: small(of.pids),
    }
}

pub(super) fn fits<'a>(
    capacity: &HardwareProfile,
    wanted: &'a HardwareProfile,
    used: impl Iterator<Item = &'a HardwareProfile>,
) -> Result<(), RejectReason> {
    let (mut cpu, mut memory, mut pids) = (0u64, 0u64, 0u64);
    for hardware in used.chain([wanted]) {
        cpu = cpu.saturating_add(hardware.milli_cpu.into());
        memory = memory.saturating_add(hardware.memory_bytes);
        pids = pids.saturating_add(hardware.pids.into());
    }
    let resource = if cpu > capacity.milli_cpu.into() {
        "cpu"
    } else if memory > capacity.memory_bytes {
        "memory"
    } else if pids > capacity.pids.into() {
        "pids"
    } else {
        return Ok(());
    };
    Err(RejectReason::Capacity { resource })
}
