//! Whatever was appended, confirmed and crashed: the unread suffix is exactly what was appended.
use crate::util::{SMALL, append_all, boot, crash, keep_nothing, only_abandoned, payload, read};
use proptest::prelude::*;
use tollgate_journal::{Journal, Options, Position};

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    /// A fraction of the records appended so far.
    Confirm(f64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![8 => (1_usize..=1000).prop_map(Step::Append), 1 => (0.0..=1.0_f64).prop_map(Step::Confirm)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_unread_suffix_is_what_was_appended(
        steps in prop::collection::vec(step(), 1..150),
        pages in 2_u64..5,
        closed in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), boot(1), Options { segment_bytes: pages * 4096, ..SMALL }).unwrap();
        let (mut written, mut confirmed, mut stream) = (Vec::new(), 0, journal.stream());
        for step in steps {
            match step {
                Step::Append(len) => written.extend(append_all(&journal, [payload(written.len() as u64, len)])),
                Step::Confirm(part) => {
                    confirmed = confirmed.max((part * written.len() as f64) as usize);
                    stream.confirmed(cursor(&written, confirmed), keep_nothing()).unwrap();
                    prop_assert_eq!(&read(&mut stream, cursor(&written, confirmed)).unwrap(), &written[confirmed..]);
                }
            }
        }
        let dead = if closed {
            drop((journal, stream));
            dir
        } else {
            crash(dir.path())
        };
        let mut stream = only_abandoned(dead.path());
        prop_assert_eq!(stream.sealed(), closed);
        prop_assert_eq!(stream.torn_bytes(), 0);
        prop_assert_eq!(stream.end(), cursor(&written, written.len()));
        for from in [confirmed, (confirmed + written.len()) / 2, written.len()] {
            prop_assert_eq!(&read(&mut stream, cursor(&written, from)).unwrap(), &written[from..]);
        }
        prop_assert_eq!(stream.confirmed(stream.end(), keep_nothing()).unwrap(), 0);
        stream.remove().unwrap();
    }
}

/// After the first `count` records.
fn cursor(written: &[(Position, Vec<u8>)], count: usize) -> Position {
    count.checked_sub(1).map_or(Position::START, |last| written[last].0)
}
