//! What fuzzers and tests throw bytes at: each reader, with the promises of its results checked.

use edge_types::{Hop, PathEnd};

use crate::{Format, Item, Limits, Reader, write_json_line};

/// Reads `bytes` in `format`, and checks what every result promises. The limits are small, so that reaching them is
/// part of it.
///
/// # Panics
/// If a reader breaks a promise.
pub fn check(format: Format, bytes: &[u8]) {
    let limits = Limits {
        record_bytes: 4096,
        records: 512,
        replies: 256,
        links: 64,
        ..Limits::default()
    };
    let mut reader = Reader::new(format, bytes, &limits);
    let mut items = 0_u64;
    for item in &mut reader {
        items += 1;
        let Item::Path(record) = item else { continue };
        let path = &record.path;
        assert!(path.hops.len() <= 255, "as many hops as TTLs");
        let replies = path.replies().count() + path.further.len();
        assert!(replies <= limits.replies, "a bounded number of replies");
        let last = path.hops.last();
        let ends_at_target =
            matches!(last, Some(Hop::Reply(reply)) if reply.address == path.target);
        assert_eq!(
            path.end == PathEnd::Reached,
            ends_at_target,
            "the target is last if it was reached"
        );
        let samples = path
            .replies()
            .map(|(_, reply)| reply)
            .chain(path.further.iter().map(|(_, reply)| reply));
        for rtt in samples.filter_map(|reply| reply.rtt) {
            assert!(rtt.0 <= limits.round_trip, "round trips that can be");
        }
        let line = write_json_line(&record);
        let again = crate::read(line.as_bytes(), Some(Format::JsonLines), &Limits::default());
        assert_eq!(
            again.map(|again| again.records),
            Ok(vec![record]),
            "our own lines are read back"
        );
    }
    assert!(
        reader.records() <= limits.records + 1,
        "a bounded number of records"
    );
    let most = (bytes.len() as u64 + 2) * 2;
    assert!(
        items <= most,
        "no more items than bytes and parts left out can make"
    );
}

/// [`check`] of [`Format::JsonLines`].
pub fn json_lines(bytes: &[u8]) {
    check(Format::JsonLines, bytes);
}

/// [`check`] of [`Format::ScamperJson`].
pub fn scamper_json(bytes: &[u8]) {
    check(Format::ScamperJson, bytes);
}

/// [`check`] of [`Format::Warts`].
pub fn warts(bytes: &[u8]) {
    check(Format::Warts, bytes);
}

/// [`check`] of [`Format::Atlas`].
pub fn atlas(bytes: &[u8]) {
    check(Format::Atlas, bytes);
}

/// [`check`] of [`Format::Traceroute`].
pub fn traceroute(bytes: &[u8]) {
    check(Format::Traceroute, bytes);
}

/// [`check`] of [`Format::Nmap`].
pub fn nmap(bytes: &[u8]) {
    check(Format::Nmap, bytes);
}

/// [`check`] of [`Format::Rtrack`].
pub fn rtrack(bytes: &[u8]) {
    check(Format::Rtrack, bytes);
}

/// [`check`] of [`Format::Map`].
pub fn map(bytes: &[u8]) {
    check(Format::Map, bytes);
}
