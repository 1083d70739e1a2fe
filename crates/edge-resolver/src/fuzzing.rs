//! What fuzzers and tests throw bytes at: judging and reading replies.

use edge_discovery::{Answer, Security};
use hickory_proto::rr::{Name, RecordType};

use crate::wire::{Asking, CASE_OCTETS, Chain, MAX_ALIASES, Reading, Reply, SentQuery, read};

/// Takes `octets` as the reply to a query with identifier 0x1234 for the SRV records of `_exec._tcp.isp.example`.
///
/// # Panics
/// If a promise is broken.
pub fn wire(octets: &[u8]) {
    let Ok(mut name) = Name::from_ascii("_exec._tcp.isp.example") else {
        return;
    };
    name.set_fqdn(true);
    let asking = Asking {
        recursion: true,
        signatures: false,
    };
    let Some(query) = SentQuery::new(&name, RecordType::SRV, asking, 0x1234, &[0; CASE_OCTETS])
    else {
        return;
    };
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
        let reading = read(&message, &name, RecordType::SRV, &mut chain);
        assert!(
            chain.aliases <= MAX_ALIASES + 1,
            "a bounded number of aliases is followed"
        );
        if let Reading::Done(Answer::Records { records, .. }) = reading {
            assert!(
                records.len() * 7 <= octets.len(),
                "no more records than fit the message"
            );
        }
    }
}
