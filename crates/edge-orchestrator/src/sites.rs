//! Entry points that discovery found: where they are, and what they offered.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use edge_discovery::{
    Assessment, IepCandidate, OriginTable, Position, Tier, TrustPolicy, TrustRefusal, Use, assess,
    position,
};
use edge_http::client::{ClientTimeouts, ContactBudget, IepClient};
use edge_http::entry_tls::{ContactRefusal, TlsPolicy, Transport};
use edge_negotiation::{
    Action, Evidence, GreenListPolicy, KeyBinding, Negotiation, NegotiationState, Now, Pace,
};
use edge_ports::{Clock, Signer};
use edge_types::{
    Amount, HardwareProfile, MonotonicTime, Offer, OfferId, PathEnd, PathObservation, Preferences,
    Rtt, Slot,
};
use edge_wire::signing::verify_offer;

/// A path to a site, and when it was traced.
#[derive(Clone, Debug)]
pub struct PathToSite {
    /// The path.
    pub path: PathObservation,
    /// When the trace began.
    pub at: MonotonicTime,
}

/// What a greeting came to.
#[derive(Clone, Debug)]
pub struct Inquiry {
    /// The negotiation, at `Offered` if there is a green-listed offer.
    pub negotiation: Negotiation,
    /// Did the entry point answer with an offer, fair or not?
    pub made_an_offer: bool,
    /// How it was spoken to; or why it was not.
    pub transport: Result<Transport, ContactRefusal>,
    /// When it ended.
    pub at: MonotonicTime,
}

/// An entry point and everything known about it.
#[derive(Clone, Debug)]
pub struct KnownSite {
    /// What DNS said.
    pub candidate: IepCandidate,
    /// The way to it, once traced.
    pub path: Option<PathToSite>,
    /// How far it is to be trusted.
    pub assessment: Assessment,
    /// What its latest answer was.
    pub inquiry: Option<Inquiry>,
    /// Is a greeting under way?
    pub is_being_asked: bool,
    trace_started: Option<MonotonicTime>,
}

impl KnownSite {
    /// A site that was only just found. [`KnownSite::assess`] tells how far it is to be trusted.
    pub const fn new(candidate: IepCandidate) -> Self {
        Self {
            candidate,
            path: None,
            assessment: Assessment {
                tier: Tier::Unverified,
                signs: Vec::new(),
                objection: None,
            },
            inquiry: None,
            is_being_asked: false,
            trace_started: None,
        }
    }

    /// Weighs anew what is known. `least` is the least round trip known to routers.
    pub fn assess(&mut self, origins: Option<&dyn OriginTable>, least: &BTreeMap<IpAddr, Rtt>) {
        let place = match &self.path {
            Some(known) => position(&known.path, &self.candidate.seen_on, least, NEAR),
            None => Position::default(),
        };
        self.assessment = assess(&self.candidate, self.address(), origins, &place);
    }

    /// May it be rented on these terms? `trial` is the most that a site on trial gets, in wei.
    ///
    /// # Errors
    /// It is trusted too little for the sum.
    pub fn may_be_rented(
        &self,
        offer: &Offer,
        policy: &TrustPolicy,
        trial: u128,
    ) -> Result<(), TrustRefusal> {
        let sum = offer.price_per_second.times(offer.slot.seconds());
        let wanted = match sum {
            Ok(sum) if sum.units <= trial => Use::Trial,
            _ => Use::Money,
        };
        policy.check(wanted, &self.assessment)
    }

    /// The address used: pinned from the lookup that the policy checked (security rule 4).
    ///
    /// # Panics
    /// Never: discovery yields no candidate without an address.
    pub fn address(&self) -> IpAddr {
        *self
            .candidate
            .addresses
            .first()
            .expect("a candidate has an address")
    }

    /// Address and port of the entry point.
    pub fn entry_point(&self) -> SocketAddr {
        SocketAddr::new(self.address(), self.candidate.id.port)
    }

    /// Never traced, or a while ago without reaching it?
    pub fn may_be_traced(&self, now: MonotonicTime, again_after: Duration) -> bool {
        self.rtt().is_none()
            && self
                .trace_started
                .is_none_or(|at| now.since(at) >= again_after)
    }

    /// Notes that a trace is begun.
    pub const fn trace_started(&mut self, at: MonotonicTime) {
        self.trace_started = Some(at);
    }

    /// Measured round trip, if it answered.
    pub fn rtt(&self) -> Option<Rtt> {
        let path = &self.path.as_ref()?.path;
        match path.end {
            PathEnd::Reached => path.replies().last().and_then(|(_, reply)| reply.rtt),
            _ => None,
        }
    }

    /// Never asked, or long ago without success?
    pub fn may_be_asked(&self, now: MonotonicTime, again_after: Duration) -> bool {
        self.inquiry.as_ref().is_none_or(|inquiry| {
            self.offers().next().is_none() && now.since(inquiry.at) >= again_after
        })
    }

    /// Is there a fair offer that was made more than `age` ago?
    pub fn offer_is_older_than(&self, now: MonotonicTime, age: Duration) -> bool {
        self.offers().next().is_some()
            && self
                .inquiry
                .as_ref()
                .is_some_and(|inquiry| now.since(inquiry.at) >= age)
    }

    /// Did it answer with an offer, fair or not?
    pub fn made_an_offer(&self) -> bool {
        self.inquiry
            .as_ref()
            .is_some_and(|inquiry| inquiry.made_an_offer)
    }

    /// The green-listed offer, if there is one.
    pub fn offers(&self) -> impl Iterator<Item = &Offer> {
        let fair = self
            .inquiry
            .as_ref()
            .filter(|inquiry| *inquiry.negotiation.state() == NegotiationState::Offered);
        fair.and_then(|inquiry| inquiry.negotiation.offer())
            .into_iter()
    }

    /// The inquiry that holds this offer.
    pub fn green_listed(&self, offer: OfferId) -> Option<&Inquiry> {
        self.offers()
            .any(|known| known.id == offer)
            .then_some(self.inquiry.as_ref()?)
    }

    /// What its offer, or the lack of one, came to, in words.
    pub fn verdict(&self, policy: &TrustPolicy, trial: u128) -> String {
        let Some(inquiry) = &self.inquiry else {
            return match policy.check(Use::Contact, &self.assessment) {
                Ok(()) => "not asked yet".to_owned(),
                Err(refusal) => format!("not asked: {refusal}"),
            };
        };
        if let Err(refusal) = &inquiry.transport {
            return format!("not asked: {refusal}");
        }
        let unpaid = self
            .offers()
            .find_map(|offer| self.may_be_rented(offer, policy, trial).err());
        match inquiry.negotiation.state() {
            NegotiationState::Offered => match unpaid {
                None => "green-listed".to_owned(),
                Some(refusal) => format!("a fair offer, not taken: {refusal}"),
            },
            NegotiationState::Rejected(reason) => format!("refused: {reason}"),
            NegotiationState::Failed(failure) => with_cause(failure),
            _ => "no answer".to_owned(),
        }
    }
}

/// An error and what caused it, on one line.
pub fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// How much later than the router before it a site may answer to count as near, and how much sooner a router may be
/// passed than it answers itself.
const NEAR: Duration = Duration::from_millis(5);

/// How far ahead of a greeting the wanted period begins.
const LEAD_SECONDS: u64 = 1;

/// Greets entry points with our preferences.
#[derive(Debug)]
pub struct Inquirer {
    /// Name of the application.
    pub application: String,
    /// The key that would pay.
    pub signer: Arc<dyn Signer>,
    /// Hardware that the edge service needs.
    pub needs: HardwareProfile,
    /// Length of the lease.
    pub lease: Duration,
    /// Highest price of a second.
    pub price_ceiling: Amount,
    /// What is accepted; the wanted slot is filled in.
    pub policy: GreenListPolicy,
    /// How fast a negotiation goes.
    pub pace: Pace,
    /// Which addresses were contacted and did not greet (security rule 5).
    pub contacts: ContactBudget,
    /// Who is spoken to over TLS.
    pub tls: TlsPolicy,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl Inquirer {
    /// Greets one entry point and judges its offers.
    pub async fn ask(&self, site: &KnownSite) -> Inquiry {
        // By the time the provider reads this its clock has moved on, and no slot begins in the past.
        let start = self.clock.utc().plus_seconds(LEAD_SECONDS);
        let slot = Slot {
            start,
            end: start.plus_seconds(self.lease.as_secs()),
        };
        let preferences = Preferences {
            application: self.application.clone(),
            buyer: self.signer.address(),
            slot,
            hardware: self.needs,
            price_ceiling_per_second: self.price_ceiling,
            expected_requests_per_second: 0,
            conditions: self.policy.conditions.clone(),
        };
        let policy = GreenListPolicy {
            wanted: slot,
            ..self.policy.clone()
        };
        let mut negotiation = Negotiation::new(self.pace, policy, preferences);
        negotiation.start(self.now());
        let transport = match self.tls.decide(&site.candidate) {
            Ok(transport) => transport,
            Err(refusal) => {
                negotiation.abandon(self.now());
                return Inquiry {
                    negotiation,
                    made_an_offer: false,
                    transport: Err(refusal),
                    at: self.clock.monotonic(),
                };
            }
        };
        let client = IepClient::new(
            site.entry_point(),
            site.candidate.id.clone(),
            ClientTimeouts::default(),
        )
        .over(self.tls.over(&transport));
        let mut made_an_offer = false;
        // Not "did the site make an offer": its name may lead to another address by now.
        if !self.contacts.has_greeted(site.address())
            && let Err(error) = client.greet(&self.contacts, self.clock.monotonic()).await
        {
            tracing::debug!(site = %site.candidate.id, error = %with_cause(&error), "no greeting");
            negotiation.abandon(self.now());
        }
        while !negotiation.state().is_final() && *negotiation.state() != NegotiationState::Offered {
            match negotiation.poll_action(self.now()) {
                Some(Action::SendHello(preferences)) => match client.hello(&preferences).await {
                    Ok(offers) => {
                        made_an_offer |= !offers.is_empty();
                        let judged = offers.into_iter().map(|offer| {
                            let evidence = evidence(site, &offer);
                            (offer, evidence)
                        });
                        negotiation.handle_offers(judged.collect(), self.now());
                    }
                    Err(error) => match error.reject_reason() {
                        Some(reason) => negotiation.handle_rejected(reason.clone(), self.now()),
                        None => {
                            tracing::debug!(site = %site.candidate.id, error = %with_cause(&error), "hello failed");
                            negotiation.handle_failed(self.now());
                        }
                    },
                },
                Some(_) => break,
                None => match negotiation.poll_timeout(self.now()) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => break,
                },
            }
        }
        Inquiry {
            negotiation,
            made_an_offer,
            transport: Ok(transport),
            at: self.clock.monotonic(),
        }
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        Now {
            monotonic: self.clock.monotonic(),
            utc: self.clock.utc(),
        }
    }
}

/// What we found out about an offer by ourselves.
fn evidence(site: &KnownSite, offer: &Offer) -> Evidence {
    let key_binding = match &site.candidate.key {
        Some(key) if key.address == offer.provider && key.authenticated => KeyBinding::Dnssec,
        Some(key) if key.address == offer.provider => KeyBinding::Dns,
        _ => KeyBinding::None,
    };
    Evidence {
        signature_verified: verify_offer(offer).is_ok(),
        key_binding,
        site: site.candidate.id.clone(),
    }
}
