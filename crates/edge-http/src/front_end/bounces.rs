//! Which requests are bounced off a site, and what comes back. No lock: one in N redirects touches two atomics more.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use edge_dispatch::{
    BOUNCE_EXPIRES, BounceKey, BounceTarget, BounceTicket, Opened, client_network, round_trip_bound,
};
use edge_types::{AgreementId, IpNet, MonotonicTime, Rtt};
use tokio::sync::mpsc;

/// Bounces under way; of more, the oldest count for nothing when they come back.
const MOST_UNDER_WAY: u64 = 4096;
/// Places in which it is remembered when a client was last bounced. Clients that share one are bounced less often.
const CLIENT_PLACES: usize = 1 << 16;

/// How often requests are bounced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BounceSettings {
    /// One in so many redirected GETs; 0: none.
    pub one_in: u32,
    /// The same client not again for so long. Longer than clients keep idle connections, or else a site could have half of the
    /// time that a bounce takes be counted for a connection that it kept open.
    pub apart: Duration,
}

/// What clients tell of sites, as far as the front end can believe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientWord {
    /// A client was bounced off the site of this agreement.
    Sent {
        /// The agreement.
        agreement: AgreementId,
    },
    /// It came back.
    Returned {
        /// The agreement.
        agreement: AgreementId,
        /// The client's network.
        network: IpNet,
        /// The round trip between client and site is at most this.
        bound: Rtt,
        /// Does the site's promise hold for this client?
        is_promised: bool,
    },
    /// A client, or whoever says that it is one, reports that a request to a site failed.
    Failed {
        /// The site's client-facing address.
        server: SocketAddr,
        /// The network that the report came from.
        network: IpNet,
    },
}

/// The connection by which a request came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    pub(super) client: IpAddr,
    pub(super) rtt: Option<Rtt>,
    pub(super) accepted: MonotonicTime,
}

/// Bounces of one front end.
#[derive(Debug)]
pub(super) struct Bounces {
    settings: BounceSettings,
    key: BounceKey,
    words: mpsc::Sender<ClientWord>,
    redirects: AtomicU64,
    serials: AtomicU64,
    /// Serials of tokens that may still come back, each at its number modulo the length; 0 once used.
    under_way: Box<[AtomicU64]>,
    /// When clients were last bounced, in seconds since the start and one; 0 for never.
    bounced_at: Box<[AtomicU32]>,
}

impl Bounces {
    pub(super) fn new(
        settings: BounceSettings,
        key: BounceKey,
        words: mpsc::Sender<ClientWord>,
    ) -> Self {
        Self {
            settings,
            key,
            words,
            redirects: AtomicU64::new(0),
            serials: AtomicU64::new(0),
            under_way: (0..MOST_UNDER_WAY).map(|_| AtomicU64::new(0)).collect(),
            bounced_at: (0..CLIENT_PLACES).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Is this redirect one in N?
    pub(super) fn is_turn(&self) -> bool {
        let one_in = u64::from(self.settings.one_in);
        one_in > 0 && (self.redirects.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(one_in)
    }

    /// Where to send a client first that is on its way to a site, if it can be bounced now.
    pub(super) fn send(
        &self,
        target: &BounceTarget,
        from: &Connection,
        wanted: &str,
        now: MonotonicTime,
    ) -> Option<String> {
        let rtt = from.rtt?;
        if !self.may_bounce(from.client, now) {
            return None;
        }
        let serial = self.serials.fetch_add(1, Ordering::Relaxed) + 1;
        let ticket = BounceTicket {
            sent: now,
            serial,
            rtt,
            agreement: target.agreement,
            is_promised: target.is_promised,
            wanted: wanted.to_owned(),
        };
        let token = self.key.seal(&ticket, from.client)?;
        self.place(serial)?.store(serial, Ordering::Relaxed);
        let agreement = target.agreement;
        let _counts_for_less_if_full = self.words.try_send(ClientWord::Sent { agreement });
        Some(target.location(&token))
    }

    /// A token came back: where its client wants to go, and whether the token counted.
    pub(super) fn receive(
        &self,
        token: &str,
        from: &Connection,
        now: MonotonicTime,
    ) -> (String, bool) {
        let Opened { ticket, wanted } = self.key.open(token, from.client);
        let counts = ticket.is_some_and(|ticket| self.count(&ticket, from, now));
        (wanted, counts)
    }

    fn count(&self, ticket: &BounceTicket, from: &Connection, now: MonotonicTime) -> bool {
        let elapsed = now.since(ticket.sent);
        let is_first_use = self.place(ticket.serial).is_some_and(|place| {
            let used =
                place.compare_exchange(ticket.serial, 0, Ordering::Relaxed, Ordering::Relaxed);
            used.is_ok()
        });
        if !is_first_use || elapsed > BOUNCE_EXPIRES {
            return false;
        }
        // The shorter one takes less off the time, so that the bound stays one.
        let rtt = from.rtt.map_or(ticket.rtt, |rtt| rtt.min(ticket.rtt));
        let word = ClientWord::Returned {
            agreement: ticket.agreement,
            network: client_network(from.client),
            bound: round_trip_bound(elapsed, rtt, from.accepted > ticket.sent),
            is_promised: ticket.is_promised,
        };
        self.words.try_send(word).is_ok()
    }

    fn place(&self, serial: u64) -> Option<&AtomicU64> {
        self.under_way
            .get(usize::try_from(serial % MOST_UNDER_WAY).ok()?)
    }

    /// Was the client not bounced for a while? Then it counts as bounced now.
    fn may_bounce(&self, client: IpAddr, now: MonotonicTime) -> bool {
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX - 1);
        let now = seconds(now.0) + 1;
        let place = self.key.number_of(client) % CLIENT_PLACES as u64;
        let Some(place) = usize::try_from(place)
            .ok()
            .and_then(|place| self.bounced_at.get(place))
        else {
            return false;
        };
        let last = place.load(Ordering::Relaxed);
        let is_due = last == 0 || now - last.min(now) >= seconds(self.settings.apart);
        is_due
            && place
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}
