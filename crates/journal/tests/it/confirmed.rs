//! What goes away, and when.
use crate::util::{SMALL, append_all, keep_nothing, only_abandoned, open, payload, read, segments};
use std::time::SystemTime;
use tollgate_journal::{Error, Position};

#[test]
fn confirmed_segments_are_deleted_and_unconfirmed_ones_never() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let written = append_all(&journal, (0..100).map(|n| payload(n, 900)));
    let mut stream = journal.stream();
    for (i, (position, _)) in written.iter().enumerate() {
        let left = stream.confirmed(*position, keep_nothing()).unwrap();
        assert_eq!(read(&mut stream, *position).unwrap(), written[i + 1..]);
        let needed =
            journal.end().get().div_ceil(SMALL.segment_bytes - 64) - position.get() / (SMALL.segment_bytes - 64);
        assert!((needed..=needed + 1).contains(&(left as u64)), "{left} segments left, {needed} hold what is unread");
    }
    let early = stream.read(Position::START, u64::MAX, |_, _| {});
    assert!(
        matches!(early, Err(Error::Gone { wanted: Position::START, first }) if first > Position::START),
        "{early:?}"
    );
}

#[test]
fn young_segments_are_kept_though_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let written = append_all(&journal, (0..100).map(|n| payload(n, 900)));
    let mut stream = journal.stream();
    stream.confirmed(journal.end(), SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(read(&mut stream, Position::START).unwrap(), written);
}

#[test]
fn an_ended_stream_can_be_confirmed_to_nothing_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    append_all(&journal, (0..20).map(|n| payload(n, 900)));
    let end = journal.end();
    drop(journal);
    let mut stream = only_abandoned(dir.path());
    assert!(stream.confirmed(Position::new(end.get() - 1), keep_nothing()).unwrap() > 0);
    assert_eq!(stream.confirmed(end, keep_nothing()).unwrap(), 0);
    assert!(segments(dir.path()).is_empty());
    stream.remove().unwrap();
    assert!(!dir.path().join(crate::util::boot(1).to_string()).exists());
}

#[test]
fn a_live_stream_cannot_be_removed_and_a_closed_one_can() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    journal.append(b"record").unwrap();
    assert!(matches!(journal.stream().remove(), Err(Error::Live(_))));
    assert_eq!(read(&mut journal.stream(), Position::START).unwrap().len(), 1);
    let stream = journal.stream();
    journal.close().unwrap();
    stream.remove().unwrap();
    assert!(!dir.path().join(crate::util::boot(1).to_string()).exists());
}
