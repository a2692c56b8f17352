//! Many writers, and readers that follow them.
use crate::util::{keep_nothing, open};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tollgate_journal::{Journal, Position};

const WRITERS: u64 = 4;
const EACH: u64 = 5_000;

#[test]
fn a_tailing_reader_sees_every_acknowledged_record_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let done = AtomicBool::new(false);
    let (acknowledged, seen) = thread::scope(|s| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|w| {
                s.spawn({
                    let journal = &journal;
                    move || write(journal, w)
                })
            })
            .collect();
        let tail = s.spawn(|| tail(&journal, &done));
        let acknowledged: Vec<_> = writers.into_iter().flat_map(|w| w.join().unwrap()).collect();
        done.store(true, Ordering::Release);
        (acknowledged, tail.join().unwrap())
    });
    assert!(seen.is_sorted_by(|a, b| a.0 < b.0), "each position once, ascending");
    let acknowledged: BTreeMap<_, _> = acknowledged.into_iter().collect();
    assert_eq!(acknowledged.len() as u64, WRITERS * EACH);
    assert_eq!(seen.into_iter().collect::<BTreeMap<_, _>>(), acknowledged);
}

fn write(journal: &Journal, writer: u64) -> Vec<(Position, Vec<u8>)> {
    let record = |n: u64| [writer.to_le_bytes(), n.to_le_bytes()].concat().repeat(1 + (n % 5) as usize);
    (0..EACH).map(|n| (journal.append(&record(n)).unwrap(), record(n))).collect()
}

/// Deletes what it has read as it goes, as a shipper does. What is committed when `done` is seen is the last of it.
fn tail(journal: &Journal, done: &AtomicBool) -> Vec<(Position, Vec<u8>)> {
    let (mut stream, mut seen, mut at) = (journal.stream(), Vec::new(), Position::START);
    loop {
        let last = done.load(Ordering::Acquire);
        let next = stream.read(at, 10_000, |after, record| seen.push((after, record.to_vec()))).unwrap();
        if next == at && last {
            return seen;
        }
        at = next;
        stream.confirmed(at, keep_nothing()).unwrap();
    }
}
