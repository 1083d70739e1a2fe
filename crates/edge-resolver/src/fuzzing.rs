//! What fuzzers and tests throw bytes at: judging and reading replies.

use std::net::IpAddr;
use std::sync::LazyLock;

use edge_discovery::{Answer, RecordData, RecordKind, Security};
use hickory_proto::rr::Name;

use crate::wire::{
    Asking, CASE_OCTETS, Chain, MAX_ALIASES, Reading, Reply, SentQuery, read, record_type,
};

/// The query for each kind of record that is asked for.
static QUERIES: LazyLock<Vec<(RecordKind, SentQuery)>> = LazyLock::new(|| {
    let kinds = [
        RecordKind::Ptr,
        RecordKind::Srv,
        RecordKind::A,
        RecordKind::Aaaa,
        RecordKind::Txt,
        RecordKind::Tlsa,
    ];
    let asking = Asking {
        recursion: true,
        signatures: false,
    };
    let query = |kind| {
        let name = name()?;
        let case = &[0; CASE_OCTETS];
        let query = SentQuery::new(&name, record_type(kind), asking, 0x1234, case)?;
        Some((kind, query))
    };
    kinds.into_iter().filter_map(query).collect()
});

fn name() -> Option<Name> {
    let mut name = Name::from_ascii("_exec._tcp.isp.example").ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// Takes `octets` as the reply to a query with identifier 0x1234 for the records of each kind at `_exec._tcp.isp.example`.
///
/// # Panics
/// If a promise is broken.
pub fn wire(octets: &[u8]) {
    assert!(QUERIES.len() == 6, "every kind is asked for");
    for (kind, query) in &*QUERIES {
        reply(octets, *kind, query);
    }
}

/// How many records it gave.
fn reply(octets: &[u8], kind: RecordKind, query: &SentQuery) -> usize {
    let mut most = 0;
    for is_tcp in [false, true] {
        let Reply::Answer(message) = query.judge(octets, is_tcp) else {
            continue;
        };
        assert!(
            octets.starts_with(&[0x12, 0x34]),
            "an answer has the query's identifier"
        );
        let mut chain = Chain {
            ttl_seconds: u32::MAX,
            security: Security::Secure,
            aliases: 0,
        };
        let Some(name) = name() else { continue };
        let reading = read(&message, &name, record_type(kind), &mut chain);
        assert!(
            chain.aliases <= MAX_ALIASES + 1,
            "a bounded number of aliases is followed"
        );
        if let Reading::Done(Answer::Records { records, .. }) = reading {
            assert!(
                records.len() * 7 <= octets.len(),
                "no more records than fit the message"
            );
            let is_wanted = |record: &RecordData| match record {
                RecordData::Ptr(_) => kind == RecordKind::Ptr,
                RecordData::Srv(_) => kind == RecordKind::Srv,
                RecordData::Address(IpAddr::V4(_)) => kind == RecordKind::A,
                RecordData::Address(IpAddr::V6(_)) => kind == RecordKind::Aaaa,
                RecordData::Txt(_) => kind == RecordKind::Txt,
                RecordData::Tlsa(_) => kind == RecordKind::Tlsa,
            };
            assert!(records.iter().all(is_wanted), "of the kind asked for");
            most = most.max(records.len());
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_every_kind_there_is_a_seed_that_is_read() {
        for (kind, query) in &*QUERIES {
            let file = format!("{kind:?}").to_lowercase();
            let folder = "../../fuzz/corpus/resolver_wire/";
            let octets = std::fs::read(format!("{folder}{file}")).unwrap();
            assert!(reply(&octets, *kind, query) > 0, "{kind:?}");
        }
    }
}
