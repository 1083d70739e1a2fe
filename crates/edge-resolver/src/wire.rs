//! Messages: making queries, judging replies, reading answers.

use edge_discovery::{
    Absence, Answer, AnswerName, NegativeSoa, NoAnswer, Question, RecordData, RecordKind, Security,
    SrvRecord, TlsaRecord,
};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// Largest UDP answer asked for: avoids fragments on every path (the recommendation of DNS flag day 2020).
pub(crate) const UDP_PAYLOAD: u16 = 1232;
/// Longest chain of aliases that is followed.
pub(crate) const MAX_ALIASES: usize = 8;

/// Largest name is 255 octets, so this many bits choose the case of every letter.
pub(crate) const CASE_OCTETS: usize = 32;

/// What a query asks for beside records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    /// That the server finds the answer, if it has to by asking others.
    pub(crate) recursion: bool,
    /// The signatures.
    pub(crate) signatures: bool,
}

/// A query as it was sent, to compare replies with.
#[derive(Debug)]
pub(crate) struct SentQuery {
    pub(crate) id: u16,
    pub(crate) name: Name,
    pub(crate) kind: RecordType,
    pub(crate) octets: Vec<u8>,
}

/// What a datagram or TCP message is to the query that is open.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The answer.
    Answer(Box<Message>),
    /// Possibly the answer, but cut, unreadable, or not repeating the question as it was sent: ask over TCP.
    Doubtful(&'static str),
    /// Nothing to do with the query.
    Unrelated,
}

pub(crate) const fn record_type(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::Ptr => RecordType::PTR,
        RecordKind::Srv => RecordType::SRV,
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
        RecordKind::Txt => RecordType::TXT,
        RecordKind::Tlsa => RecordType::TLSA,
    }
}

/// The owner name of a question; `None` if it cannot be put on the wire.
pub(crate) fn question_name(question: &Question) -> Option<Name> {
    let mut name = Name::from_ascii(question.name.as_str()).ok()?;
    name.set_fqdn(true);
    Some(name)
}

impl SentQuery {
    /// Makes a query with letters in the case that `case` says, bit by bit: a reply has to repeat it, which a forger
    /// who cannot see the query has to guess along with `id` and the port.
    pub(crate) fn new(
        name: &Name,
        kind: RecordType,
        asking: Asking,
        id: u16,
        case: &[u8; CASE_OCTETS],
    ) -> Option<Self> {
        let mut bits = case
            .iter()
            .flat_map(|octet| (0..8).map(move |bit| octet >> bit & 1 == 1))
            .cycle();
        let mut octets = [0; 255];
        let mut labels = Vec::with_capacity(name.num_labels().into());
        let mut rest = octets.as_mut_slice();
        for label in name {
            let (mixed, further) = std::mem::take(&mut rest).split_at_mut_checked(label.len())?;
            for (to, from) in mixed.iter_mut().zip(label) {
                *to = if bits.next() == Some(true) {
                    from.to_ascii_uppercase()
                } else {
                    from.to_ascii_lowercase()
                };
            }
            labels.push(&*mixed);
            rest = further;
        }
        let mut name = Name::from_labels(labels).ok()?;
        name.set_fqdn(true);
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = asking.recursion;
        // RFC 6840 section 5.7: asks for the AD bit without asking for signatures.
        message.metadata.authentic_data = asking.recursion && !asking.signatures;
        // RFC 6840 section 5.9: we judge ourselves, and want to see what we judge.
        message.metadata.checking_disabled = asking.recursion && asking.signatures;
        let mut query = Query::query(name.clone(), kind);
        query.set_query_class(DNSClass::IN);
        message.add_query(query);
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD).set_version(0);
        edns.set_dnssec_ok(asking.signatures);
        message.set_edns(edns);
        let octets = message.to_vec().ok()?;
        Some(Self {
            id,
            name,
            kind,
            octets,
        })
    }

    /// Judges octets that came back. Over TCP, where nobody can inject, the case need not be repeated.
    pub(crate) fn judge(&self, octets: &[u8], is_tcp: bool) -> Reply {
        let [id_high, id_low, flags, _, ..] = *octets else {
            return Reply::Unrelated;
        };
        let is_response = flags & 0x80 != 0;
        if u16::from_be_bytes([id_high, id_low]) != self.id || !is_response {
            return Reply::Unrelated;
        }
        let is_truncated = flags & 0x02 != 0;
        if is_truncated {
            return Reply::Doubtful("a truncated answer");
        }
        let Ok(message) = Message::from_vec(octets) else {
            return Reply::Doubtful("an answer that cannot be decoded");
        };
        let repeats_question = match message.queries.as_slice() {
            [query] => {
                query.query_type() == self.kind
                    && query.query_class() == DNSClass::IN
                    && if is_tcp {
                        *query.name() == self.name
                    } else {
                        query.name().eq_case(&self.name)
                    }
            }
            // Servers may leave the question out where they could not read it (RFC 6891 leaves it open).
            [] => is_tcp && message.metadata.response_code != ResponseCode::NoError,
            _ => false,
        };
        if repeats_question && message.metadata.op_code == OpCode::Query {
            Reply::Answer(Box::new(message))
        } else {
            Reply::Doubtful("an answer to another question")
        }
    }
}

/// Why a validating server did not answer, if it says that it found the answer to be bogus (RFC 8914 section 4).
pub(crate) fn bogus_by_extended_error(message: &Message) -> Option<NoAnswer> {
    const EXTENDED_ERROR: u16 = 15;
    let options = message.edns.as_ref()?.options();
    let code = options
        .options
        .iter()
        .find_map(|(_, option)| match option {
            EdnsOption::Unknown(EXTENDED_ERROR, octets) => {
                let [high, low] = *octets.first_chunk()?;
                Some(u16::from_be_bytes([high, low]))
            }
            _ => None,
        })?;
    let what = match code {
        6 => "the answer is bogus",
        7 => "a signature is expired",
        8 => "a signature is not valid yet",
        9 => "the key of a signature is missing",
        10 => "signatures are missing",
        12 => "proof of absence is missing",
        _ => return None,
    };
    Some(NoAnswer::Bogus {
        reason: format!("says the resolver: {what}"),
    })
}

/// What a message says about a name.
#[derive(Debug)]
pub(crate) enum Reading {
    /// The end.
    Done(Answer),
    /// The name is an alias of another, about which the message says nothing: ask for that.
    Alias {
        /// The other name.
        next: Name,
    },
}

/// What was learnt on the way along aliases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    pub(crate) ttl_seconds: u32,
    pub(crate) security: Security,
    pub(crate) aliases: usize,
}

/// Reads the answer for `name` out of a message, following aliases (RFC 1034 section 3.6.2, RFC 2317).
pub(crate) fn read(message: &Message, name: &Name, kind: RecordType, chain: &mut Chain) -> Reading {
    let response_code = message.metadata.response_code;
    if !matches!(
        response_code,
        ResponseCode::NoError | ResponseCode::NXDomain
    ) {
        return Reading::Done(Answer::Unanswered(NoAnswer::Failed {
            response_code: response_code.into(),
        }));
    }
    let mut current = name.clone();
    loop {
        let found: Vec<&Record> = at(&message.answers, &current)
            .filter(|record| record.record_type() == kind)
            .collect();
        if !found.is_empty() {
            let ttl = found.iter().map(|record| record.ttl).min().unwrap_or(0);
            return Reading::Done(Answer::Records {
                records: found.into_iter().filter_map(record_data).collect(),
                ttl_seconds: chain.ttl_seconds.min(ttl),
                security: chain.security,
            });
        }
        let alias = at(&message.answers, &current).find_map(|record| match &record.data {
            RData::CNAME(target) => Some((target.0.clone(), record.ttl)),
            _ => None,
        });
        let Some((target, ttl)) = alias else { break };
        chain.aliases += 1;
        chain.ttl_seconds = chain.ttl_seconds.min(ttl);
        if chain.aliases > MAX_ALIASES {
            return Reading::Done(Answer::Unanswered(NoAnswer::Malformed {
                detail: "too many aliases, or a loop of them",
            }));
        }
        current = target;
    }

    let soa = message
        .authorities
        .iter()
        .find_map(|record| negative_soa(record, &current));
    let has_soa = message
        .authorities
        .iter()
        .any(|record| record.record_type() == RecordType::SOA);
    if response_code == ResponseCode::NoError && !has_soa {
        if current != *name {
            return Reading::Alias { next: current };
        }
        let is_referral = message
            .authorities
            .iter()
            .any(|record| record.record_type() == RecordType::NS);
        if is_referral {
            return Reading::Done(Answer::Unanswered(NoAnswer::Malformed {
                detail: "a referral to other servers",
            }));
        }
    }
    Reading::Done(Answer::Absent {
        absence: if response_code == ResponseCode::NXDomain {
            Absence::NxDomain
        } else {
            Absence::NoData
        },
        soa: soa.map(|soa| NegativeSoa {
            negative_ttl_seconds: soa.negative_ttl_seconds.min(chain.ttl_seconds),
            ..soa
        }),
        security: chain.security,
    })
}

fn at<'a>(records: &'a [Record], name: &'a Name) -> impl Iterator<Item = &'a Record> {
    records
        .iter()
        .filter(move |record| record.dns_class == DNSClass::IN && record.name == *name)
}

/// The SOA record of a negative answer for `name`. One that does not enclose the name says nothing about it.
fn negative_soa(record: &Record, name: &Name) -> Option<NegativeSoa> {
    let RData::SOA(soa) = &record.data else {
        return None;
    };
    if !record.name.zone_of(name) {
        return None;
    }
    let AnswerName::Name(apex) = answer_name(&record.name) else {
        return None;
    };
    Some(NegativeSoa {
        apex,
        negative_ttl_seconds: record.ttl.min(soa.minimum),
    })
}

fn record_data(record: &Record) -> Option<RecordData> {
    Some(match &record.data {
        RData::PTR(name) => RecordData::Ptr(answer_name(&name.0)),
        RData::SRV(srv) => RecordData::Srv(SrvRecord {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: answer_name(&srv.target),
        }),
        RData::A(address) => RecordData::Address(address.0.into()),
        RData::AAAA(address) => RecordData::Address(address.0.into()),
        RData::TXT(text) => {
            RecordData::Txt(text.txt_data.iter().map(|part| part.to_vec()).collect())
        }
        RData::TLSA(tlsa) => RecordData::Tlsa(TlsaRecord {
            usage: tlsa.cert_usage.into(),
            selector: tlsa.selector.into(),
            matching: tlsa.matching.into(),
            data: tlsa.cert_data.clone(),
        }),
        _ => return None,
    })
}

fn answer_name(name: &Name) -> AnswerName {
    if name.is_root() {
        AnswerName::Root
    } else {
        AnswerName::parse(&name.to_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent() -> SentQuery {
        let name = Name::from_ascii("_edge._tcp.isp.example.").unwrap();
        let asking = Asking {
            recursion: true,
            signatures: false,
        };
        SentQuery::new(
            &name,
            RecordType::SRV,
            asking,
            0x1234,
            &[0b0101_0101; CASE_OCTETS],
        )
        .unwrap()
    }

    fn fresh() -> Chain {
        Chain {
            ttl_seconds: u32::MAX,
            security: Security::Secure,
            aliases: 0,
        }
    }

    #[test]
    fn a_query_mixes_case_and_asks_for_ad() {
        let sent = sent();
        let message = Message::from_vec(&sent.octets).unwrap();
        assert!(message.metadata.recursion_desired && message.metadata.authentic_data);
        let text = message.queries[0].name().to_ascii();
        assert_eq!(text.to_ascii_lowercase(), "_edge._tcp.isp.example.");
        assert!(text.bytes().any(|octet| octet.is_ascii_uppercase()));
        assert!(text.bytes().any(|octet| octet.is_ascii_lowercase()));
    }

    #[test]
    fn a_soa_record_of_another_zone_says_nothing() {
        let sent = sent();
        let name = |text: &str| Name::from_ascii(text).unwrap();
        for (owner, want) in [
            ("isp.example.", Some("isp.example")),
            ("other.example.", None),
            ("deep._edge._tcp.isp.example.", None),
        ] {
            let mut answer = Message::from_vec(&sent.octets).unwrap().into_response();
            let soa = hickory_proto::rr::rdata::SOA::new(name("a."), name("b."), 1, 1, 1, 1, 60);
            answer.add_authority(Record::from_rdata(name(owner), 600, RData::SOA(soa)));
            let reading = read(&answer, &sent.name, RecordType::SRV, &mut fresh());
            let Reading::Done(Answer::Absent { soa, .. }) = reading else {
                panic!("{reading:?}");
            };
            let found = soa.map(|soa| (soa.apex.to_string(), soa.negative_ttl_seconds));
            assert_eq!(found, want.map(|apex| (apex.to_owned(), 60)), "{owner}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_survived(
            mut octets in prop::collection::vec(any::<u8>(), 0..300),
            is_tcp in any::<bool>(),
        ) {
            for (octet, needed) in octets.iter_mut().zip([0x12, 0x34, 0x80, 0]) {
                *octet = needed;
            }
            if let Reply::Answer(message) = sent().judge(&octets, is_tcp) {
                let _ = read(&message, &sent().name, RecordType::SRV, &mut fresh());
            }
        }

        #[test]
        fn a_changed_answer_is_survived(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            let sent = sent();
            let mut answer = Message::from_vec(&sent.octets).unwrap().into_response();
            let target = Name::from_ascii("site.isp.example.").unwrap();
            for _ in 0..3 {
                let srv = hickory_proto::rr::rdata::SRV::new(1, 2, 3, target.clone());
                answer.add_answer(Record::from_rdata(sent.name.clone(), 60, RData::SRV(srv)));
            }
            let mut octets = answer.to_vec().unwrap();
            for (index, value) in &changes {
                let index = index.index(octets.len());
                octets[index] = *value;
            }
            match sent.judge(&octets, false) {
                Reply::Answer(message) => {
                    let _ = read(&message, &sent.name, RecordType::SRV, &mut fresh());
                }
                Reply::Doubtful(_) | Reply::Unrelated => prop_assert!(!changes.is_empty()),
            }
        }
    }
}
