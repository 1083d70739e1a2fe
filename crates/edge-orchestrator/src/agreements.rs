//! Agreements under way: each is driven by a task of its own from reservation to settlement.
//!
//! The state machine of `edge-negotiation` decides; this carries its actions out over HTTP and the ledger, and reports
//! back what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edge_discovery::TlsPin;
use edge_http::entry_tls::TlsPolicy;
use edge_http::front_end::ClientWord;
use edge_journal::JournalError;
use edge_ledger::Ledgers;
use edge_negotiation::{
    Heard, Negotiation, NegotiationState, Now, Pace, Spending, SpendingRefusal,
};
use edge_placement::{Candidate, Trust, Whereabouts};
use edge_ports::{Clock, PathSource, Signer, TracePriority};
use edge_topology::{AggregateTree, Attachment};
use edge_types::{
    AgreementId, Amount, Asset, ChainAddress, IepId, MonotonicTime, Offer, OfferId,
    PathObservation, Rtt, Settlement, UtcTime,
};
use tokio::sync::Notify;

use crate::config::Settings;
use crate::journal::{AgreementStore, Recovered, Written};
use crate::measured::{Measured, Usable};
use crate::sites::{Inquiry, KnownSite, PathToSite, with_cause};
use crate::status::{AgreementStatus, Status};

mod contracts;
mod driver;
mod own_book;

pub use contracts::ImportRefusal;
use driver::Driver;

/// The way to a site that an earlier process rented is looked for this often …
const TRACE_ATTEMPTS: u32 = 10;
/// … and at this interval.
const TRACE_INTERVAL: Duration = Duration::from_secs(3);

/// Before clients leave a site its lease may be renewed, or the site replaced, for so many seconds, but for a quarter of the lease at
/// most: as long as it may take to agree and to deploy.
const RENEWAL_SECONDS: u64 = 60;

/// What clients tell of one site between two looks of its driver; more is dropped.
const MOST_HEARD: usize = 4096;

/// An answer of a container may take this longer than one of its machine.
const CONTAINER_SLACK: Duration = Duration::from_millis(20);

/// Client-facing address, and until when it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Where clients reach it.
    pub address: SocketAddr,
    /// Last second in which a client may be there.
    pub until: UtcTime,
    /// How its distance to clients is found out; none for sites of our own, and those whose certificates clients cannot check.
    pub bounce: Option<Bounce>,
}

/// How the distance between a site and its clients is found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounce {
    /// The agreement under which it serves.
    pub agreement: AgreementId,
    /// `http://authority` or `https://authority` of its entry point.
    pub entry_point: String,
    /// The promised round trip in milliseconds; 0 for none.
    pub round_trip_ms: u32,
}

/// Who may pull the edge service's image: the holder of a token, for the time of an agreement (security rule 12).
pub trait ImageAccess: Send + Sync + std::fmt::Debug {
    /// A new token, at most 128 letters and digits; `None` if the machine gives no random numbers.
    fn grant(&self) -> Option<String>;
    /// The token is good no longer.
    fn revoke(&self, token: &str);
    /// A token that an earlier process granted is good again.
    fn admit(&self, token: &str);
}

/// What all agreements share.
#[derive(Debug)]
pub struct Agreements {
    /// Configuration.
    pub settings: Arc<Settings>,
    /// The paying key.
    pub signer: Arc<dyn Signer>,
    /// Its account on the chain, and our own book of agreements without one.
    pub ledgers: Ledgers,
    /// Who is spoken to over TLS.
    pub tls: TlsPolicy,
    /// Paths to sites that an earlier process rented.
    pub paths: Arc<dyn PathSource>,
    /// How fast negotiations go.
    pub pace: Pace,
    /// The registry.
    pub images: Arc<dyn ImageAccess>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Report.
    pub status: Arc<Status>,
    /// Raised when a site begins or ceases to serve.
    pub serving_changed: Arc<Notify>,
    /// Raised when a site says no, so that a new plan is made.
    pub plan_again: Arc<Notify>,
    /// State.
    pub book: Mutex<Book>,
    /// What outlives the process.
    pub store: Mutex<AgreementStore>,
}

/// The agreements by site.
#[derive(Debug)]
pub struct Book {
    /// Two of one site while a lease is renewed.
    open: BTreeMap<(IepId, OfferId), Open>,
    failed: BTreeMap<IepId, MonotonicTime>,
    /// Sites that were ever found, and the way to them.
    found: BTreeMap<IepId, PathToSite>,
    /// Sites that ever confirmed.
    rented: BTreeSet<IepId>,
    /// What was put into escrow, for the caps.
    spending: Spending,
    /// Providers that served an agreement to the end.
    proven: BTreeSet<ChainAddress>,
    /// How far sites say that their clients are.
    measured: Measured,
}

impl Book {
    /// No agreement.
    pub fn new(spending: Spending) -> Self {
        Self {
            open: BTreeMap::new(),
            failed: BTreeMap::new(),
            found: BTreeMap::new(),
            rented: BTreeSet::new(),
            spending,
            proven: BTreeSet::new(),
            measured: Measured::default(),
        }
    }
}

#[derive(Debug)]
struct Open {
    offer: Offer,
    /// None until it is traced anew after a restart.
    path: Option<PathToSite>,
    serving: Option<Serving>,
    /// The provider takes its hardware back: it serves on for a while, and no plan can count on it.
    leaves: bool,
    /// Nothing is agreed before people have made the contract.
    waits: bool,
    /// The TLS keys that DNS named for it last; none before that.
    pins: Vec<TlsPin>,
    /// How far its container is by what it was asked, once that is known.
    container: Option<Rtt>,
    /// The operator wants it closed.
    close: Arc<Notify>,
    /// What clients told of it since its driver last listened.
    heard: Vec<Heard>,
}

impl Open {
    /// Its place on the tree. A container that is farther than the address that speaks for it counts as far as it is (security rule 7).
    fn attach(&self, tree: &AggregateTree) -> Option<Attachment> {
        let at = tree.attach(&self.path.as_ref()?.path);
        let further = self.container.map_or(Duration::ZERO, |container| {
            container.0.saturating_sub(at.rtt.0)
        });
        if further <= CONTAINER_SLACK.max(at.rtt.0 / 4) {
            return Some(at);
        }
        Some(Attachment {
            rtt: Rtt(at.rtt.0 + further),
            beyond: Rtt(at.beyond.0 + further),
            ..at
        })
    }

    /// Does it end so soon that plans look beyond it?
    fn ends_soon(&self, now: UtcTime) -> bool {
        let slot = self.offer.slot;
        let notice = u64::from(self.offer.sla.notice_seconds);
        let renewal = RENEWAL_SECONDS.min(slot.seconds() / 4);
        self.leaves || now.plus_seconds(notice + renewal) >= slot.end
    }
}

impl Book {
    /// Security rule 9: keys and sites cost a provider nothing, and one that has served nothing yet holds little of ours.
    fn check_provider(
        &self,
        offer: &Offer,
        deposit: u128,
        cap: u128,
    ) -> Result<(), SpendingRefusal> {
        let pending = self
            .open
            .values()
            .filter(|open| open.offer.provider == offer.provider)
            .filter_map(|open| {
                let price = open.offer.price_per_second;
                price.times(open.offer.slot.seconds()).ok()
            })
            .fold(0, |sum: u128, deposit| sum.saturating_add(deposit.units));
        if self.proven.contains(&offer.provider) || pending.saturating_add(deposit) <= cap {
            return Ok(());
        }
        Err(SpendingRefusal::NewProvider {
            deposit,
            pending,
            cap,
        })
    }

    /// Agreements with this site.
    fn of(&self, site: &IepId) -> impl Iterator<Item = &Open> {
        let all = self.open.iter();
        all.filter_map(move |((of, _), open)| (of == site).then_some(open))
    }

    /// Is there one that lasts, or one that the provider ends?
    fn holds(&self, site: &IepId, now: UtcTime) -> bool {
        self.of(site)
            .any(|open| open.leaves || !open.ends_soon(now))
    }
}

impl Agreements {
    /// Is there an agreement, or one under way, with this site, but for one whose lease ends soon and may be renewed?
    pub fn holds(&self, site: &IepId) -> bool {
        self.book().holds(site, self.clock.utc())
    }

    /// Is there any agreement, or one under way, with this site?
    pub fn deals_with(&self, site: &IepId) -> bool {
        self.book().of(site).next().is_some()
    }

    /// How many agreements are open or under way, without those that end soon.
    pub fn open(&self) -> usize {
        let now = self.clock.utc();
        let book = self.book();
        let lasting = book.open.values();
        lasting
            .filter(|open| !open.ends_soon(now) && !open.waits)
            .count()
    }

    /// Offers whose agreements end soon, by the end of the lease or since the provider takes its hardware back.
    pub fn ending(&self) -> BTreeSet<OfferId> {
        let now = self.clock.utc();
        let book = self.book();
        let ending = book.open.values().filter(|open| open.ends_soon(now));
        ending.map(|open| open.offer.id).collect()
    }

    /// Sites that serve under an agreement that ends soon, but not since the provider takes its hardware back.
    pub fn sites_ending(&self) -> BTreeSet<IepId> {
        let now = self.clock.utc();
        let book = self.book();
        let ending = book
            .open
            .values()
            .filter(|open| open.ends_soon(now) && !open.leaves && open.serving.is_some());
        ending.map(|open| open.offer.site.clone()).collect()
    }

    /// Is no agreement open?
    pub fn is_idle(&self) -> bool {
        self.book().open.is_empty()
    }

    /// Sites that rejected or failed within the last `time`, or wait for people.
    pub fn failed_within(&self, now: MonotonicTime, time: Duration) -> BTreeSet<IepId> {
        let book = self.book();
        let recent = book.failed.iter().filter(|(_, at)| now.since(**at) < time);
        let waiting = book.open.iter().filter(|(_, open)| open.waits);
        let waiting = waiting.map(|((site, _), _)| site.clone());
        recent
            .map(|(site, _)| site.clone())
            .chain(waiting)
            .collect()
    }

    /// What may still be put into escrow now: the least that the hourly and the daily cap leave.
    pub fn budget_left(&self) -> Amount {
        Amount {
            asset: self.settings.asset,
            units: self.book().spending.left(self.clock.utc()),
        }
    }

    /// Is all spending stopped?
    pub fn spending_stopped(&self) -> bool {
        self.book().spending.is_stopped()
    }

    /// Stops all spending, or allows it again, from now on and after a restart. Open agreements run out.
    ///
    /// # Errors
    /// It cannot be written down. It counts all the same until this process ends.
    pub fn stop_spending(&self, is_stopped: bool) -> Result<(), JournalError> {
        self.book().spending.stop(is_stopped);
        self.store().write_spending(is_stopped)
    }

    /// Ends an agreement before its time; false if none of this id is open.
    pub fn close(&self, id: AgreementId) -> bool {
        let book = self.book();
        let open = book
            .open
            .values()
            .find(|open| AgreementId::from(open.offer.id) == id);
        open.map(|open| open.close.notify_one()).is_some()
    }

    /// Sites with an agreement that plans can count on, as candidates that cost nothing more.
    pub fn as_candidates(&self, tree: &AggregateTree) -> Vec<Candidate> {
        let now = self.clock.utc();
        self.candidates(tree, |open| !open.ends_soon(now) && !open.waits)
    }

    /// Sites that serve now, as candidates, with their addresses.
    pub fn serving(&self, tree: &AggregateTree) -> (Vec<Candidate>, BTreeMap<IepId, Serving>) {
        let mut serving: BTreeMap<IepId, (OfferId, Serving)> = BTreeMap::new();
        for ((site, offer), open) in &self.book().open {
            let Some(at) = open.serving.clone() else {
                continue;
            };
            // While a lease is renewed, the new one counts as soon as it serves.
            let known = serving.get(site);
            if known.is_none_or(|(_, known)| known.until < at.until) {
                serving.insert(site.clone(), (*offer, at));
            }
        }
        let candidates = self.candidates(tree, |open| {
            let latest = serving.get(&open.offer.site);
            latest.is_some_and(|(offer, _)| *offer == open.offer.id)
        });
        let serving = serving.into_iter().map(|(site, (_, at))| (site, at));
        (candidates, serving.collect())
    }

    /// Notes the way to a site that was found, for the picture of the tree.
    pub fn note_found(&self, site: &IepId, path: &PathToSite) {
        self.book().found.insert(site.clone(), path.clone());
    }

    /// Notes which TLS keys DNS names for a site now, in case that it has changed them within a lease.
    pub fn note_pins(&self, site: &IepId, pins: &[TlsPin]) {
        let mut book = self.book();
        let open = book.open.iter_mut().filter(|((at, _), _)| at == site);
        open.for_each(|(_, open)| pins.clone_into(&mut open.pins));
    }

    /// Every site that was found and traced, its place on the tree, and whether it ever confirmed.
    pub fn all_found(&self, tree: &AggregateTree) -> Vec<(IepId, Attachment, bool)> {
        let book = self.book();
        let found = book.found.iter();
        found
            .map(|(site, path)| {
                let is_rented = book.rented.contains(site);
                (site.clone(), tree.attach(&path.path), is_rented)
            })
            .collect()
    }

    /// Takes note of what a client tells of a site.
    pub fn hear(&self, word: &ClientWord) {
        let now = self.clock.monotonic();
        let mut book = self.book();
        let Book { open, measured, .. } = &mut *book;
        let by_id = |agreement: AgreementId| {
            move |((_, offer), _): &(&(IepId, OfferId), &mut Open)| {
                AgreementId::from(*offer) == agreement
            }
        };
        let (found, heard) = match *word {
            ClientWord::Sent { agreement } => (open.iter_mut().find(by_id(agreement)), Heard::Sent),
            ClientWord::Returned {
                agreement,
                network,
                bound,
                is_promised,
            } => {
                let heard = Heard::Bounce {
                    network,
                    bound,
                    is_promised,
                };
                (open.iter_mut().find(by_id(agreement)), heard)
            }
            ClientWord::Failed { server, network } => {
                let found = open.iter_mut().find(|(_, open)| {
                    let serving = open.serving.as_ref();
                    serving.is_some_and(|serving| serving.address == server)
                });
                (found, Heard::Failure { network })
            }
        };
        let Some(((site, _), open)) = found else {
            return;
        };
        if let Heard::Bounce { network, bound, .. } = heard {
            measured.bounced(site, self.settings.grouping, network, bound, now);
        }
        if open.heard.len() < MOST_HEARD {
            open.heard.push(heard);
        }
    }

    /// What sites measured of the way to their clients, as far as it can be believed of these candidates.
    pub fn measured(&self, tree: &AggregateTree, candidates: &[Candidate]) -> Usable {
        let sites = candidates.iter();
        let sites = sites.map(|candidate| (&candidate.site, &candidate.attachment));
        let usable = self
            .book()
            .measured
            .usable(tree, sites, self.clock.monotonic());
        if usable.too_short > 0 {
            tracing::debug!(
                reports = usable.too_short,
                "not believed: clients would be nearer than the ways from the cloud allow"
            );
        }
        if usable.contradicted > 0 {
            tracing::debug!(
                reports = usable.contradicted,
                "not believed: clients' own bounces took much longer"
            );
        }
        usable
    }

    /// The way to a site with an agreement.
    pub fn path_to(&self, site: &IepId) -> Option<PathObservation> {
        let book = self.book();
        let path = book.of(site).find_map(|open| open.path.as_ref());
        path.map(|path| path.path.clone())
    }

    fn candidates(&self, tree: &AggregateTree, wanted: impl Fn(&Open) -> bool) -> Vec<Candidate> {
        let book = self.book();
        let open = book.open.iter().filter(|(_, open)| wanted(open));
        let candidate = |((site, _), open): (&(IepId, OfferId), &Open)| {
            Some(Candidate {
                site: site.clone(),
                offer: Some(open.offer.id),
                attachment: open.attach(tree)?,
                price_per_second: open.offer.price_per_second,
                slot: open.offer.slot,
                already_running: true,
                capacity: self.settings.edge_service.capacity,
                trust: Trust::Proven,
                whereabouts: Whereabouts::default(),
                outlook_percent: 100,
            })
        };
        open.filter_map(candidate).collect()
    }

    /// Takes up the green-listed offer that `inquiry` brought, if the caps allow, in a task of its own.
    ///
    /// # Errors
    /// Which cap forbids it.
    pub fn start(
        self: &Arc<Self>,
        site: &KnownSite,
        inquiry: &Inquiry,
        path: PathToSite,
    ) -> Result<(), SpendingRefusal> {
        let negotiation = &inquiry.negotiation;
        let (Some(offer), Ok(transport)) = (negotiation.offer().cloned(), &inquiry.transport)
        else {
            return Ok(());
        };
        let Ok(deposit) = offer.price_per_second.times(offer.slot.seconds()) else {
            return Ok(());
        };
        let now = self.clock.utc();
        let mut selected = negotiation.clone();
        selected.select(self.now());
        let Some(record) = selected.record(self.now()) else {
            return Ok(());
        };
        let close = Arc::new(Notify::new());
        {
            let mut book = self.book();
            let key = (offer.site.clone(), offer.id);
            if book.holds(&offer.site, now) || book.open.contains_key(&key) {
                return Ok(());
            }
            if spends(&offer) {
                book.spending.check(deposit.units, now)?;
            }
            // What was paid in advance is there already, however new the provider is.
            if !offer.settlement.is_local() {
                let cap = self.settings.units_per_new_provider;
                book.check_provider(&offer, deposit.units, cap)?;
            }
            if spends(&offer) {
                book.spending.count(deposit.units, now, now);
            }
            let open = Open {
                offer: offer.clone(),
                path: Some(path),
                serving: None,
                leaves: false,
                waits: matches!(offer.settlement, Settlement::Contact(_)),
                pins: Vec::new(),
                container: None,
                close: Arc::clone(&close),
                heard: Vec::new(),
            };
            book.open.insert(key, open);
        }
        let mut written = Written {
            record,
            entry_point: site.entry_point(),
            transport: transport.clone(),
            serving_at: None,
            image_token: None,
            challenge: None,
            began: now,
            steps: Vec::new(),
        };
        written.step(now, format!("selected by a plan for {deposit}"));
        if let Err(error) = self.store().forget(now) {
            tracing::warn!(%error, "agreements that are over stay in the journal");
        }
        tokio::spawn(Driver::new(Arc::clone(self), selected, written, close).run());
        Ok(())
    }

    /// Takes up every agreement that an earlier process wrote down.
    pub fn resume(self: &Arc<Self>, recovered: Recovered) {
        let (now, utc) = (self.now(), self.clock.utc());
        self.book().spending.stop(recovered.spending_stopped);
        if !recovered.agreements.is_empty() {
            let agreed = recovered.agreements.iter();
            let mut assets: BTreeSet<Asset> = agreed
                .map(|written| written.record.offer.price_per_second.asset)
                .collect();
            assets.insert(self.settings.asset);
            for asset in assets {
                tokio::spawn(Arc::clone(self).withdraw(asset));
            }
        }
        for mut written in recovered.agreements {
            let offer = written.record.offer.clone();
            let state = written.record.state.clone();
            let deposit = offer.price_per_second.times(offer.slot.seconds());
            // The caps are of what is paid in now.
            if let Ok(deposit) = deposit
                && deposit.asset == self.settings.asset
                && spends(&offer)
            {
                let mut book = self.book();
                book.spending.count(deposit.units, written.began, utc);
            }
            if state == NegotiationState::Settled && written.record.failure.is_none() {
                self.book().proven.insert(offer.provider);
            }
            if state.is_final() {
                continue;
            }
            written.step(utc, "taken up again after a restart".to_owned());
            let close = Arc::new(Notify::new());
            let open = Open {
                offer: offer.clone(),
                path: None,
                serving: None,
                leaves: written.record.stops_at.is_some(),
                waits: state == NegotiationState::AwaitingContract,
                pins: Vec::new(),
                container: None,
                close: Arc::clone(&close),
                heard: Vec::new(),
            };
            let is_rented = state.is_funded() && state != NegotiationState::Proposed;
            {
                let mut book = self.book();
                book.open.insert((offer.site.clone(), offer.id), open);
                if is_rented {
                    book.rented.insert(offer.site.clone());
                }
            }
            if let Some(token) = &written.image_token {
                self.images.admit(token);
            }
            self.status
                .event(self.at_ms(), format!("{} taken up again", offer.site));
            tokio::spawn(Arc::clone(self).find_way(offer.site.clone(), written.entry_point));
            let negotiation = Negotiation::resume(self.pace, written.record.clone(), now);
            tokio::spawn(Driver::new(Arc::clone(self), negotiation, written, close).run());
        }
    }

    /// Traces a site that an earlier process rented, so that clients can be sent there again.
    async fn find_way(self: Arc<Self>, site: IepId, entry_point: SocketAddr) {
        for _ in 0..TRACE_ATTEMPTS {
            let at = self.clock.monotonic();
            let traced = self.paths.trace(entry_point.ip(), TracePriority::New).await;
            if let Ok(path) = traced {
                let path = PathToSite { path, at };
                self.note_found(&site, &path);
                for ((of, _), open) in &mut self.book().open {
                    if *of == site {
                        open.path = Some(path.clone());
                    }
                }
                self.serving_changed.notify_one();
                return;
            }
            tokio::time::sleep(TRACE_INTERVAL).await;
        }
    }

    /// Fetches our credit. If that fails, the end of the next agreement fetches it, or the next process.
    async fn withdraw(self: Arc<Self>, asset: Asset) {
        let Some(escrow) = self.ledgers.escrow() else {
            return;
        };
        if let Err(error) = escrow.withdraw(asset).await {
            tracing::warn!(error = %with_cause(&error), "our credit stays in the escrow for now");
        }
    }

    fn open_record(&self, offer: &Offer) -> usize {
        let deposit = offer.price_per_second.times(offer.slot.seconds());
        let status = AgreementStatus {
            site: offer.site.to_string(),
            id: offer.id.to_string(),
            state: "reserving".to_owned(),
            deposit_units: deposit.map_or(0, |deposit| deposit.units).to_string(),
            serving_at: None,
            began_ms: self.at_ms(),
            reserved_ms: None,
            proposed_ms: None,
            confirmed_ms: None,
            serving_ms: None,
            ended_ms: None,
            reason: None,
        };
        let mut index = 0;
        self.status.update(|report| {
            index = report.agreements.len();
            report.agreements.push(status);
        });
        index
    }

    fn now(&self) -> Now {
        Now {
            monotonic: self.clock.monotonic(),
            utc: self.clock.utc(),
        }
    }

    fn store(&self) -> MutexGuard<'_, AgreementStore> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at_ms(&self) -> u64 {
        u64::try_from(self.clock.monotonic().0.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Is it for the program to spend? What people agree on, they pay.
const fn spends(offer: &Offer) -> bool {
    !matches!(offer.settlement, Settlement::Contact(_))
}
