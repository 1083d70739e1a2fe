//! DNSSEC: which answers are proven, to a trust anchor or to be unsigned, and which are lies.
//!
//! The judgement is hickory's; here its questions for keys are answered, each once for all who need it, and failures to
//! fetch a key are kept apart from wrong signatures.

mod wildcard;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edge_discovery::{NoAnswer, Security};
use futures_util::{Stream, StreamExt, stream};
use hickory_net::DnsError;
use hickory_net::NetError;
use hickory_net::dnssec::DnssecDnsHandle;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::xfer::DnsHandle;
use hickory_proto::dnssec::{Proof, TrustAnchors};
use hickory_proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Message, Query};
use hickory_proto::rr::{Name, Record, RecordType};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::resolver::Fetch;

/// How long keys, delegations and failures to fetch them are remembered.
const KEPT_FOR: Duration = Duration::from_mins(1);
/// How many.
const MAX_KEPT: usize = 20_000;

/// Keys that are trusted without proof.
#[derive(Clone)]
pub struct TrustAnchor(Arc<TrustAnchors>);

impl TrustAnchor {
    /// Those of the Internet's root, as built into the library.
    pub fn root() -> Self {
        Self(Arc::default())
    }
}

impl FromStr for TrustAnchor {
    type Err = TrustAnchorError;

    /// Reads DNSKEY records in the format of zone files, such as `. IN DNSKEY 257 3 13 …`. Lines that start with `;` are
    /// comments.
    fn from_str(text: &str) -> Result<Self, TrustAnchorError> {
        let lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with(';'));
        let text = lines.fold(String::new(), |text, line| text + line + "\n");
        let anchors =
            TrustAnchors::from_str(&text).map_err(|error| TrustAnchorError(error.to_string()))?;
        Ok(Self(Arc::new(anchors)))
    }
}

impl fmt::Debug for TrustAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustAnchor({} keys of the root)", self.0.len())
    }
}

/// A text holds no trust anchor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the trust anchors are no DNSKEY records in the format of zone files: {0}")]
pub struct TrustAnchorError(String);

/// Validates answers.
pub(crate) struct Validator {
    handle: DnssecDnsHandle<Upstream>,
    keys: Arc<Keys>,
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validator").finish_non_exhaustive()
    }
}

/// Where the library's questions go.
#[derive(Clone)]
struct Upstream {
    fetch: Arc<Fetch>,
    keys: Arc<Keys>,
}

/// What was fetched to prove answers.
#[derive(Default)]
struct Keys {
    kept: Mutex<BTreeMap<(Name, RecordType), Kept>>,
}

#[derive(Clone)]
struct Kept {
    message: Arc<OnceCell<Result<Message, NoAnswer>>>,
    until: Instant,
}

impl Keys {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<(Name, RecordType), Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place for one message: an empty one if there is none that still holds.
    fn place(&self, name: &Name, kind: RecordType) -> Arc<OnceCell<Result<Message, NoAnswer>>> {
        let now = Instant::now();
        let mut kept = self.kept();
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, kept| now < kept.until);
            if kept.len() >= MAX_KEPT {
                kept.clear();
            }
        }
        let fresh = || Kept {
            message: Arc::default(),
            until: now + KEPT_FOR,
        };
        let place = kept.entry((name.clone(), kind)).or_insert_with(fresh);
        if now >= place.until {
            *place = fresh();
        }
        Arc::clone(&place.message)
    }

    /// Why the records, or something on which the proof for them rests, could not be fetched, if so.
    fn failure(&self, name: &Name, kind: RecordType) -> Option<NoAnswer> {
        let mut kept = self.kept();
        let mut at = name.clone();
        loop {
            for kind in [kind, RecordType::DNSKEY, RecordType::DS, RecordType::NS] {
                let key = (at.clone(), kind);
                let failure = match kept.get(&key).and_then(|kept| kept.message.get()) {
                    Some(Err(reason)) => Some(reason.clone()),
                    Some(Ok(_)) | None => None,
                };
                if failure.is_some() {
                    // The next question tries again.
                    kept.remove(&key);
                    return failure;
                }
            }
            if at.is_root() {
                return None;
            }
            at = at.base_name();
        }
    }
}

impl DnsHandle for Upstream {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let query = request.queries.first().cloned();
        Box::pin(stream::once(self.clone().respond(query)))
    }
}

impl Upstream {
    async fn respond(self, query: Option<Query>) -> Result<DnsResponse, NetError> {
        let query = query.ok_or(NetError::Message("no question"))?;
        // The reason is kept where the validator looks for it.
        let message = self.answer(query.name(), query.query_type()).await;
        let message = message.map_err(|_| NetError::Timeout)?;
        Ok(DnsResponse::from_message(message)?)
    }

    async fn answer(&self, name: &Name, kind: RecordType) -> Result<Message, NoAnswer> {
        // Where a zone begins is for the zone above to say, and what it says of signatures there is proven afterwards. Servers
        // need not know their own names at the apex, and a question less is asked.
        if kind == RecordType::NS
            && let Some(message) = self.fetch.delegated(name)
        {
            return Ok(message);
        }
        let fetch = async {
            let mut message = self.fetch.fetch(name, kind, true).await?;
            // What came along is not used, and need not be proven.
            message.additionals.clear();
            let is_of_kind = |record: &Record| record.record_type() == kind;
            if kind != RecordType::NS && message.answers.iter().any(is_of_kind) {
                message.authorities.retain(is_evidence);
            }
            Ok(message)
        };
        if !matches!(kind, RecordType::DNSKEY | RecordType::DS | RecordType::NS) {
            let fetched: Result<Message, NoAnswer> = fetch.await;
            if let Err(reason) = &fetched {
                // The library would lose it.
                let _already_known = self.keys.place(name, kind).set(Err(reason.clone()));
            }
            return fetched;
        }
        let place = self.keys.place(name, kind);
        match place.get_or_init(|| fetch).await.clone() {
            // The failure stays where it is looked for, should nothing be proven in the end.
            Err(reason) if kind == RecordType::NS => self.fetch.undelegated(name).ok_or(reason),
            fetched => fetched,
        }
    }
}

/// Is it a record that shows what does not exist, or the signature of one?
fn is_evidence(record: &Record) -> bool {
    matches!(
        record.record_type(),
        RecordType::SOA | RecordType::NSEC | RecordType::NSEC3 | RecordType::RRSIG
    )
}

impl Validator {
    pub(crate) fn new(fetch: Arc<Fetch>, anchor: &TrustAnchor) -> Self {
        let keys = Arc::<Keys>::default();
        let upstream = Upstream {
            fetch,
            keys: Arc::clone(&keys),
        };
        Self {
            handle: DnssecDnsHandle::with_trust_anchor(upstream, Arc::clone(&anchor.0)),
            keys,
        }
    }

    /// The message for a question, and what it is worth.
    ///
    /// # Errors
    /// It cannot be had, or is bogus.
    pub(crate) async fn fetch(
        &self,
        name: &Name,
        kind: RecordType,
    ) -> Result<(Message, Security), NoAnswer> {
        let query = Query::query(name.clone(), kind);
        let request = DnsRequest::from_query(query, DnsRequestOptions::default());
        let result = self.handle.send(request).next().await;
        let judged = match result {
            Some(Ok(response)) => {
                let message = response.into_message();
                weigh(&message, kind).map(|security| (message, security))
            }
            Some(Err(NetError::Dns(DnsError::Nsec {
                response,
                proof: Proof::Insecure,
                ..
            }))) => Some((response.into_message(), Security::Insecure)),
            Some(Err(NetError::Dns(DnsError::Nsec { response, .. })))
                if wildcard::is_proven(&response) =>
            {
                Some((response.into_message(), Security::Secure))
            }
            Some(Err(_)) | None => None,
        };
        judged.ok_or_else(|| {
            self.keys.failure(name, kind).unwrap_or_else(|| NoAnswer::Bogus {
                reason: format!(
                    "{name} {kind}: its zone is signed, but the signatures are missing, wrong or expired"
                ),
            })
        })
    }
}

/// What the parts of a message that matter are worth together; `None` if one is bogus.
fn weigh(message: &Message, kind: RecordType) -> Option<Security> {
    let matters = |record: &&Record| {
        let own = record.record_type();
        own == kind || own == RecordType::CNAME || own == RecordType::DNAME
    };
    let answers = message.answers.iter().filter(matters);
    let is_negative = !answers.clone().any(|record| record.record_type() == kind);
    let evidence = message.authorities.iter().filter(|record| {
        is_negative && is_evidence(record) && record.record_type() != RecordType::RRSIG
    });
    let mut least = None;
    for record in answers.chain(evidence) {
        let security = match record.proof {
            Proof::Secure => Security::Secure,
            Proof::Insecure => Security::Insecure,
            Proof::Indeterminate => Security::Indeterminate,
            Proof::Bogus => return None,
        };
        least = Some(least.unwrap_or(security).min(security));
    }
    // Nothing to prove anything with: the library lets that pass only where the zone is proven to be unsigned.
    Some(least.unwrap_or(Security::Insecure))
}
