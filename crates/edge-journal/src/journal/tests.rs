use std::fs;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;
use crate::{Store, StoreLimits};

const KIND: &str = "numbers";

fn written(path: &Path, numbers: &[u64]) {
    let mut journal = Journal::open::<u64>(path, KIND).unwrap().journal;
    for number in numbers {
        journal.append(number, Keep::Process).unwrap();
    }
}

#[test]
fn records_outlive_their_journal_and_others_cannot_read_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/numbers.jsonl");
    written(&path, &[1, 2]);
    written(&path, &[3]);
    let opened = Journal::open::<u64>(&path, KIND).unwrap();
    assert_eq!((opened.records, opened.torn), (vec![1, 2, 3], None));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_journal_has_one_writer_and_many_readers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers.jsonl");
    let mut open = Journal::open::<u64>(&path, KIND).unwrap().journal;
    open.append(&7_u64, Keep::Disk).unwrap();
    let second = Journal::open::<u64>(&path, KIND);
    assert!(matches!(second, Err(JournalError::InUse { .. })));
    assert_eq!(Journal::peek::<u64>(&path, KIND).unwrap(), [7]);
}

#[test]
fn damage_before_the_last_record_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers.jsonl");
    written(&path, &[111, 222, 333]);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("222", "223")).unwrap();
    let refused = Journal::open::<u64>(&path, KIND);
    assert!(matches!(
        refused,
        Err(JournalError::Damaged { line: 3, .. })
    ));
    assert_ne!(
        fs::read_to_string(&path).unwrap(),
        text,
        "and nothing is cut"
    );
}

#[test]
fn a_journal_of_another_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers.jsonl");
    written(&path, &[1]);
    let refused = Journal::open::<u64>(&path, "names");
    assert!(matches!(refused, Err(JournalError::OtherKind { .. })));
}

#[test]
fn a_store_keeps_the_latest_values_in_a_bounded_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.jsonl");
    let limits = StoreLimits {
        rewrite_above: 2_000,
        growth: 2,
    };
    let (mut store, _) = Store::open(&path, KIND, limits).unwrap();
    for round in 0..1_000_u64 {
        store
            .put(&format!("key {}", round % 10), round, Keep::Process)
            .unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 2_200);
    }
    store.remove("key 3").unwrap();
    drop(store);
    let (store, torn) = Store::<u64>::open(&path, KIND, limits).unwrap();
    assert_eq!(torn, None);
    let values: Vec<u64> = store.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [990, 991, 992, 994, 995, 996, 997, 998, 999]);
    assert_eq!(store.get("key 3"), None);
    assert_eq!(Store::<u64>::peek(&path, KIND).unwrap().len(), 9);
}

proptest! {
    /// Wherever a journal ends, what was whole before is there, the rest is told, and it can be written on.
    #[test]
    fn a_torn_end_loses_only_what_was_torn(numbers in prop::collection::vec(0_u64.., 1..8), cut in 1_usize..400) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers.jsonl");
        written(&path, &numbers);
        let text = fs::read(&path).unwrap();
        let left = text.len().saturating_sub(cut);
        fs::write(&path, &text[..left]).unwrap();
        let whole = text[..left].iter().filter(|octet| **octet == b'\n').count();
        let end = text[..left].iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);

        let opened = Journal::open::<u64>(&path, KIND).unwrap();
        prop_assert_eq!(&opened.records[..], &numbers[..whole.saturating_sub(1)]);
        let torn = (left > end).then_some(Torn { octets: (left - end) as u64 });
        prop_assert_eq!(opened.torn, torn);
        drop(opened);
        written(&path, &[42]);
        let records = Journal::open::<u64>(&path, KIND).unwrap().records;
        prop_assert_eq!(records.last(), Some(&42));
        prop_assert_eq!(records.len(), whole.saturating_sub(1) + 1);
    }

    /// No file, however made, makes it panic or is taken for records that nobody wrote.
    #[test]
    fn any_octets_can_be_opened_or_are_refused(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers.jsonl");
        fs::write(&path, &octets).unwrap();
        if let Ok(opened) = Journal::open::<u64>(&path, KIND) {
            prop_assert_eq!(opened.records.len(), 0);
        }
    }
}
