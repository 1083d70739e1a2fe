//! Answers that a wildcard gave, signed as such (RFC 4035 section 5.3.4): good where the zone proves that no nearer name
//! exists.
//!
//! The library wants a record that covers the wildcard itself, which exists; so it takes these for bogus in zones with NSEC
//! records.

use hickory_proto::dnssec::Proof;
use hickory_proto::dnssec::rdata::{DNSSECRData, NSEC};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record};

/// Is every answer in the message signed, and proven to be what a wildcard has to say about its name? The signatures were
/// judged before.
pub(super) fn is_proven(message: &Message) -> bool {
    let is_secure = |record: &Record| record.proof == Proof::Secure;
    let (signatures, answers): (Vec<_>, Vec<_>) = message
        .answers
        .iter()
        .partition(|record| matches!(record.data, RData::DNSSEC(DNSSECRData::RRSIG(_))));
    let absences: Vec<(&Name, &NSEC)> = message
        .authorities
        .iter()
        .filter(|record| is_secure(record))
        .filter_map(|record| match &record.data {
            RData::DNSSEC(DNSSECRData::NSEC(nsec)) => Some((&record.name, nsec)),
            _ => None,
        })
        .collect();
    let is_good = |record: &&Record| {
        let labels = signatures
            .iter()
            .filter_map(|signature| match &signature.data {
                RData::DNSSEC(DNSSECRData::RRSIG(rrsig))
                    if signature.name == record.name
                        && rrsig.input().type_covered == record.record_type() =>
                {
                    Some(rrsig.input().num_labels)
                }
                _ => None,
            });
        // The fewest: the most that has to be absent.
        let Some(labels) = labels.min() else {
            return false;
        };
        is_secure(record)
            && (labels >= record.name.num_labels()
                || absences
                    .iter()
                    .any(|(owner, nsec)| denies(owner, nsec, &next_closer(&record.name, labels))))
    };
    message.metadata.response_code == ResponseCode::NoError
        && !answers.is_empty()
        && answers.iter().all(is_good)
}

/// The name one label longer than the wildcard's parent: were there such a name, the wildcard would not apply.
fn next_closer(name: &Name, labels: u8) -> Name {
    name.trim_to(usize::from(labels) + 1)
}

/// Does the record prove that neither `name` nor anything below it exists? One above a delegation, or above an alias of a
/// whole tree, says nothing about what is below (RFC 6840 section 4.1).
fn denies(owner: &Name, nsec: &NSEC, name: &Name) -> bool {
    use hickory_proto::rr::RecordType::{DNAME, NS, SOA};
    let next = nsec.next_domain_name();
    let types = nsec.type_set();
    let is_cut = (types.contains(NS) && !types.contains(SOA)) || types.contains(DNAME);
    let is_last = next <= owner;
    owner < name
        && (name < next || is_last)
        && !name.zone_of(next)
        && !(is_cut && owner.zone_of(name))
        // The last record of a zone ends at its apex.
        && (!is_last || next.zone_of(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::RecordType;

    #[test]
    fn a_name_is_denied_by_the_record_around_it_alone() {
        let name = |text: &str| Name::from_ascii(text).unwrap();
        let a = [RecordType::A];
        let cut = [RecordType::NS];
        for (owner, next, types, denied, want) in [
            ("*._tcp.a.", "b.a.", &a, "_edge._tcp.a.", true),
            ("a.a.", "c.a.", &a, "b.a.", true),
            ("a.a.", "c.a.", &a, "d.a.", false),
            ("a.a.", "c.a.", &a, "a.a.", false),
            ("a.a.", "c.a.", &a, "c.a.", false),
            // It has something below it.
            ("a.a.", "x.b.a.", &a, "b.a.", false),
            // The last in its zone.
            ("m.a.", "a.", &a, "z.a.", true),
            ("m.a.", "a.", &a, "z.b.", false),
            ("m.a.", "a.", &a, "b.a.", false),
            ("m.a.", "n.a.", &cut, "z.m.a.", false),
            ("m.a.", "n.a.", &a, "z.m.a.", true),
        ] {
            let nsec = NSEC::new(name(next), types.iter().copied());
            assert_eq!(
                denies(&name(owner), &nsec, &name(denied)),
                want,
                "{denied} between {owner} and {next}"
            );
        }
    }
}
