//! What a crash tears is dropped; what breaks otherwise is reported.
use crate::util::{Records, append_all, crash, only_abandoned, open, payload, read, read_over, segments};
use proptest::prelude::*;
use std::fs::{self, File};
use std::path::Path;
use tollgate_journal::{Error, Position};

const HEADER: u64 = 64;

fn flip(file: &Path, at: u64) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at as usize] ^= 0x40;
    fs::write(file, bytes).unwrap();
}

/// Ten records in one segment, and the folder as a crash leaves it.
fn ten() -> (Records, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let written = append_all(&journal, (0..10).map(|n| payload(n, 100)));
    (written, crash(dir.path()))
}

#[test]
fn a_crash_tears_nothing_that_was_acknowledged() {
    let (written, dead) = ten();
    let mut stream = only_abandoned(dead.path());
    assert_eq!((stream.torn_bytes(), stream.sealed()), (0, false));
    assert_eq!(stream.end(), written[9].0);
    assert_eq!(read(&mut stream, Position::START).unwrap(), written);
}

#[test]
fn a_tail_cut_short_drops_the_last_record_only() {
    let (written, dead) = ten();
    let cut = HEADER + written[9].0.get() - 4 - 7;
    File::options().write(true).open(&segments(dead.path())[0]).unwrap().set_len(cut).unwrap();
    let mut stream = only_abandoned(dead.path());
    assert_eq!(stream.end(), written[8].0);
    assert_eq!(stream.torn_bytes(), (cut - HEADER - written[8].0.get()).next_multiple_of(8));
    assert_eq!(read(&mut stream, Position::START).unwrap(), written[..9]);
}

#[test]
fn a_flipped_byte_anywhere_in_the_last_record_drops_it_only() {
    for at in 0..8 + 100 {
        let (written, dead) = ten();
        flip(&segments(dead.path())[0], HEADER + written[8].0.get() + at);
        let mut stream = only_abandoned(dead.path());
        assert!(stream.torn_bytes() > 0);
        assert_eq!(read(&mut stream, Position::START).unwrap(), written[..9], "byte {at}");
    }
}

#[test]
fn a_flipped_byte_in_the_middle_is_reported_after_what_stood_before_it() {
    let (written, dead) = ten();
    flip(&segments(dead.path())[0], HEADER + written[3].0.get() + 20);
    let mut stream = only_abandoned(dead.path());
    let mut seen = Vec::new();
    let next = stream.read(Position::START, u64::MAX, |after, r| seen.push((after, r.to_vec()))).unwrap();
    assert_eq!((next, &seen[..]), (written[3].0, &written[..4]));
    match stream.read(next, u64::MAX, |_, _| panic!("nothing stands before the bad bytes")) {
        Err(Error::Corrupt { at, resume_at }) => assert_eq!((at, resume_at), (written[3].0, written[4].0)),
        other => panic!("{other:?}"),
    }
    assert_eq!(read(&mut stream, written[4].0).unwrap(), written[5..]);
}

#[test]
fn a_bad_last_record_of_a_sealed_stream_is_corrupt_and_not_torn() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let written = append_all(&journal, (0..10).map(|n| payload(n, 100)));
    drop(journal);
    flip(&segments(dir.path())[0], HEADER + written[8].0.get() + 20);
    let mut stream = only_abandoned(dir.path());
    assert_eq!((stream.sealed(), stream.torn_bytes(), stream.end()), (true, 0, written[9].0));
    let (seen, skipped) = read_over(&mut stream);
    assert_eq!((&seen[..], &skipped[..]), (&written[..9], &[(written[8].0, written[9].0)][..]));
}

#[test]
fn a_live_reader_reports_a_flipped_byte_too() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let written = append_all(&journal, (0..10).map(|n| payload(n, 100)));
    let file = File::options().write(true).open(&segments(dir.path())[0]).unwrap();
    file.write_all_at(b"?", HEADER + written[3].0.get() + 50).unwrap();
    let (seen, skipped) = read_over(&mut journal.stream());
    assert_eq!(seen, [&written[..4], &written[5..]].concat());
    assert_eq!(skipped, [(written[3].0, written[4].0)]);
}

#[test]
fn a_spoiled_header_is_reported_and_costs_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let written = append_all(&journal, (0..30).map(|n| payload(n, 900)));
    for spoiled in [0, 1, segments(dir.path()).len() - 2] {
        let dead = crash(dir.path());
        let base = spoiled as u64 * (8192 - HEADER);
        flip(&segments(dead.path())[spoiled], 10);
        let (seen, skipped) = read_over(&mut only_abandoned(dead.path()));
        let kept = |after: Position| !(base < after.get() && after.get() <= base + 8192 - HEADER);
        assert_eq!(seen, written.iter().filter(|(after, _)| kept(*after)).cloned().collect::<Records>());
        assert_eq!(skipped.len(), 1);
    }
}

#[test]
fn a_lost_segment_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    append_all(&journal, (0..30).map(|n| payload(n, 900)));
    let dead = crash(dir.path());
    fs::remove_file(&segments(dead.path())[1]).unwrap();
    let (_, skipped) = read_over(&mut only_abandoned(dead.path()));
    assert_eq!(skipped, [(Position::new(8192 - HEADER), Position::new(2 * (8192 - HEADER)))]);
}

#[test]
fn the_segment_made_ahead_may_be_without_header_or_bytes() {
    for len in [0, 10, 8192] {
        let (written, dead) = ten();
        let ahead = dead.path().join(crate::util::boot(1).to_string()).join(format!("{:016x}.seg", 8192 - HEADER));
        File::create(ahead).unwrap().set_len(len).unwrap();
        let mut stream = only_abandoned(dead.path());
        assert_eq!(read(&mut stream, Position::START).unwrap(), written);
        assert_eq!(stream.torn_bytes(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The position is a fraction of all the bytes there are, reserved ones included.
    #[test]
    fn one_flipped_byte_costs_at_most_one_record(sizes in prop::collection::vec(1_usize..1000, 1..40), place in 0.0..1.0_f64) {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        let written = append_all(&journal, sizes.iter().enumerate().map(|(n, len)| payload(n as u64, *len)));
        let dead = crash(dir.path());
        let files = segments(dead.path());
        let place = place * files.len() as f64;
        let at = HEADER + (place.fract() * (8192 - HEADER) as f64) as u64;
        flip(&files[place as usize], at);
        let mut stream = only_abandoned(dead.path());
        let torn = stream.torn_bytes();
        let (seen, skipped) = read_over(&mut stream);
        let lost = written.len() - seen.len();
        prop_assert!(seen.iter().all(|record| written.contains(record)));
        prop_assert!(seen.is_sorted_by(|a, b| a.0 < b.0));
        prop_assert!(lost <= 1);
        prop_assert!(lost == 0 || torn > 0 || !skipped.is_empty(), "a record is gone and nobody says so");
    }
}
