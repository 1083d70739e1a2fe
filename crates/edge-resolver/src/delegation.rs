//! What an authoritative server's message means to somebody who walks down the tree of zones: an answer, the way on, or
//! nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use edge_discovery::NoAnswer;
use edge_types::AddressPolicy;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::race::Judgement;
use crate::wire::MAX_ALIASES;

/// Name servers of one zone that are looked at.
const MAX_SERVERS: usize = 13;
/// Addresses of one name server that are looked at.
pub(crate) const MAX_ADDRESSES: usize = 4;

/// Which servers a zone is delegated to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delegation {
    pub(crate) zone: Name,
    /// Their names, with the addresses that came along and may be used.
    pub(crate) servers: BTreeMap<Name, Vec<IpAddr>>,
    pub(crate) ttl_seconds: u32,
}

/// What a server of a zone has to say.
#[derive(Debug)]
pub(crate) enum Word {
    /// An answer, cut to what the zone may speak about.
    Answer(Message),
    /// Others know more.
    Referral(Delegation),
}

/// Judges the message of a server that `zone` was delegated to. It may speak about names in `zone` only: of others
/// neither records nor addresses are believed (RFC 2181 section 5.4.1). `policy` says which addresses may be asked.
pub(crate) fn judge(
    mut message: Message,
    zone: &Name,
    (name, kind): (&Name, RecordType),
    policy: &AddressPolicy,
) -> Judgement<Word> {
    let response_code = message.metadata.response_code;
    match response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        // Not about this question, but about all: it does not serve the zone. Some only hide who its servers are.
        ResponseCode::Refused | ResponseCode::NotAuth if kind != RecordType::NS => {
            return Judgement::Lame(NoAnswer::Failed {
                response_code: response_code.into(),
            });
        }
        _ => {
            return Judgement::Declined(NoAnswer::Failed {
                response_code: response_code.into(),
            });
        }
    }
    let is_believed =
        |record: &Record| record.dns_class == DNSClass::IN && zone.zone_of(&record.name);
    message.answers.retain(is_believed);
    message.authorities.retain(is_believed);

    let has_answer = message.answers.iter().any(|record| {
        let answers = record.record_type() == kind || record.record_type() == RecordType::CNAME;
        answers && record.name == *name
    });
    if has_answer {
        if !message.metadata.authoritative {
            return lame("an answer by a server that does not serve the zone");
        }
        if leaves(&message, zone, (name, kind)) {
            // The code, and what stands for absence, are about a name that others have to be asked about.
            message.metadata.response_code = ResponseCode::NoError;
            message.authorities.clear();
        }
        return Judgement::Decides(Word::Answer(message));
    }

    let is_negative =
        |record: &Record| record.record_type() == RecordType::SOA && record.name.zone_of(name);
    if response_code == ResponseCode::NXDomain || message.authorities.iter().any(is_negative) {
        return if message.metadata.authoritative {
            message.answers.clear();
            Judgement::Decides(Word::Answer(message))
        } else {
            lame("a denial by a server that does not serve the zone")
        };
    }
    if let Some(delegation) = delegation(&message, zone, (name, kind), policy) {
        return Judgement::Decides(Word::Referral(delegation));
    }
    let refers = message
        .authorities
        .iter()
        .any(|record| record.record_type() == RecordType::NS);
    if message.metadata.authoritative && !refers {
        message.answers.clear();
        return Judgement::Decides(Word::Answer(message));
    }
    lame("a referral that leads nowhere")
}

const fn lame<T>(detail: &'static str) -> Judgement<T> {
    Judgement::Lame(NoAnswer::Malformed { detail })
}

/// Does the chain of aliases in the answer leave the zone?
fn leaves(message: &Message, zone: &Name, (name, kind): (&Name, RecordType)) -> bool {
    let mut current = name;
    for _ in 0..=MAX_ALIASES {
        let mut at = message
            .answers
            .iter()
            .filter(|record| record.name == *current);
        if at.clone().any(|record| record.record_type() == kind) {
            return false;
        }
        match at.find_map(|record| match &record.data {
            RData::CNAME(target) => Some(&target.0),
            _ => None,
        }) {
            Some(target) => current = target,
            None => break,
        }
    }
    !zone.zone_of(current)
}

/// The delegation nearest to the name. A zone that is not below the server's, or does not hold the name, would lead in
/// circles; the DS records of a zone are found above it.
fn delegation(
    message: &Message,
    zone: &Name,
    (name, kind): (&Name, RecordType),
    policy: &AddressPolicy,
) -> Option<Delegation> {
    let leads_on = |owner: &Name| {
        *owner != *zone && owner.zone_of(name) && !(kind == RecordType::DS && owner == name)
    };
    let cut = message
        .authorities
        .iter()
        .filter(|record| record.record_type() == RecordType::NS && leads_on(&record.name))
        .map(|record| &record.name)
        .max_by_key(|owner| owner.num_labels())?;
    let mut ttl_seconds = u32::MAX;
    let mut servers: BTreeMap<Name, Vec<IpAddr>> = BTreeMap::new();
    for record in &message.authorities {
        if let RData::NS(server) = &record.data
            && record.name == *cut
            && servers.len() < MAX_SERVERS
        {
            ttl_seconds = ttl_seconds.min(record.ttl);
            servers.entry(server.0.clone()).or_default();
        }
    }
    for record in &message.additionals {
        let address: IpAddr = match &record.data {
            RData::A(address) => address.0.into(),
            RData::AAAA(address) => address.0.into(),
            _ => continue,
        };
        // Addresses of names outside the zone are hearsay, and are asked for where they are known.
        if zone.zone_of(&record.name)
            && let Some(known) = servers.get_mut(&record.name)
            && known.len() < MAX_ADDRESSES
            && policy.check(address).is_ok()
        {
            known.push(address);
        }
    }
    Some(Delegation {
        zone: cut.clone(),
        servers,
        ttl_seconds,
    })
}

#[cfg(test)]
mod tests;
