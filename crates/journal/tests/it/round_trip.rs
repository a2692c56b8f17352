//! What goes in comes out.
use crate::util::{SMALL, append_all, boot, open, payload, read};
use tollgate_journal::{Error, Journal, Options, Position, abandoned};

#[test]
fn records_come_back_in_order_over_segment_borders() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let written = append_all(&journal, (0..300).map(|n| payload(n, 1 + (n as usize * 37) % 1000)));
    assert!(journal.end().get() > 10 * SMALL.segment_bytes);
    assert!(written.is_sorted_by(|a, b| a.0 < b.0));
    assert_eq!(journal.end(), written.last().unwrap().0);
    assert_eq!(read(&mut journal.stream(), Position::START).unwrap(), written);
}

#[test]
fn a_segment_of_many_megabytes_is_read_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), boot(1), Options { segment_bytes: 16 << 20, ..SMALL }).unwrap();
    let written = append_all(&journal, (0..20_000).map(|n| payload(n, 1000)));
    assert_eq!(read(&mut journal.stream(), Position::START).unwrap(), written);
}

#[test]
fn reading_begins_anywhere_and_stops_where_asked() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let written = append_all(&journal, (0..50).map(|n| payload(n, 500)));
    let mut stream = journal.stream();
    for (i, (position, _)) in written.iter().enumerate() {
        assert_eq!(read(&mut stream, *position).unwrap(), written[i + 1..]);
    }
    let mut seen = 0;
    let next = stream.read(Position::START, 1, |_, _| seen += 1).unwrap();
    assert_eq!((next, seen), (written[0].0, 1));
    assert_eq!(stream.unread(written[48].0), written[49].0.get() - written[48].0.get());
    assert_eq!(stream.unread(written[49].0), 0);
}

#[test]
fn records_may_fill_a_segment_up_to_its_end_mark() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    // 8192 bytes without header and mark are 203 frames of 40.
    let written = append_all(&journal, (0..203 * 3).map(|n| payload(n, 32)));
    assert_eq!(written[202].0, Position::new(203 * 40));
    assert_eq!(written[203].0, Position::new(203 * 40 + 8 + 40));
    assert_eq!(read(&mut journal.stream(), Position::START).unwrap(), written);
    drop(journal);
    let mut streams = abandoned(dir.path()).unwrap();
    assert!(streams[0].sealed());
    assert_eq!(read(&mut streams[0], Position::START).unwrap(), written);
}

#[test]
fn a_record_of_no_bytes_or_too_many_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    assert!(matches!(journal.append(b""), Err(Error::Size { len: 0, max: 1000 })));
    assert!(matches!(journal.append(&[1; 1001]), Err(Error::Size { len: 1001, max: 1000 })));
    assert_eq!(journal.end(), Position::START);
    assert!(journal.append(&[1; 1000]).is_ok());
}

#[test]
fn a_closed_journal_refuses_and_gives_back_what_it_reserved() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let written = append_all(&journal, (0..20).map(|n| payload(n, 700)));
    let mut stream = journal.stream();
    assert!(!stream.sealed());
    journal.close().unwrap();
    journal.close().unwrap();
    assert!(stream.sealed());
    assert!(matches!(journal.append(b"late"), Err(Error::Closed)));
    assert_eq!(read(&mut stream, Position::START).unwrap(), written);
    let sizes: Vec<_> = crate::util::segments(dir.path()).iter().map(|s| s.metadata().unwrap().len()).collect();
    assert_eq!(sizes.len(), 2, "the segment made ahead is gone");
    assert!(sizes[1] < SMALL.segment_bytes, "{sizes:?}");
}

#[test]
fn an_empty_journal_has_nothing_to_read() {
    let dir = tempfile::tempdir().unwrap();
    assert!(abandoned(&dir.path().join("none")).unwrap().is_empty());
    let journal = open(dir.path());
    assert!(read(&mut journal.stream(), Position::START).unwrap().is_empty());
    drop(journal);
    let mut streams = abandoned(dir.path()).unwrap();
    assert_eq!(streams[0].boot(), boot(1));
    assert!(streams[0].sealed());
    assert!(read(&mut streams[0], Position::START).unwrap().is_empty());
}
