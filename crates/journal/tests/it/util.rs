//! What every story needs: small journals, whole reads, a crash to look at.
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};
use tollgate_journal::{BootId, Durability, Error, Journal, Options, Position, Stream, abandoned};

pub(crate) type Records = Vec<(Position, Vec<u8>)>;

/// Small enough that a handful of records crosses borders.
pub(crate) const SMALL: Options = Options { segment_bytes: 8192, max_record: 1000, sync: Durability::None };

pub(crate) fn boot(n: u8) -> BootId {
    BootId::from_bytes([n; 16])
}

pub(crate) fn open(dir: &Path) -> Journal {
    Journal::open(dir, boot(1), SMALL).unwrap()
}

/// Bytes that tell which record they are, and how long it should be.
pub(crate) fn payload(n: u64, len: usize) -> Vec<u8> {
    n.to_le_bytes()
        .into_iter()
        .chain((0_u32..).map(|i| (n as u8).wrapping_mul(31).wrapping_add(i as u8)))
        .take(len)
        .collect()
}

pub(crate) fn append_all(journal: &Journal, payloads: impl IntoIterator<Item = Vec<u8>>) -> Records {
    payloads.into_iter().map(|p| (journal.append(&p).unwrap(), p)).collect()
}

/// Everything from `from` on, in calls of about a page; the first error ends it.
pub(crate) fn read(stream: &mut Stream, from: Position) -> Result<Records, Error> {
    let (mut records, mut at) = (Vec::new(), from);
    loop {
        let next = stream.read(at, 4096, |after, record| records.push((after, record.to_vec())))?;
        if next == at {
            return Ok(records);
        }
        assert_eq!(Some(next), records.last().map(|(after, _)| *after));
        at = next;
    }
}

/// Everything that can be had, going on after each corrupt stretch; with the stretches.
pub(crate) fn read_over(stream: &mut Stream) -> (Records, Vec<(Position, Position)>) {
    let (mut records, mut skipped, mut at) = (Vec::new(), Vec::new(), Position::START);
    loop {
        match stream.read(at, u64::MAX, |after, record| records.push((after, record.to_vec()))) {
            Ok(next) if next == at => return (records, skipped),
            Ok(next) => at = next,
            Err(Error::Corrupt { at: bad, resume_at }) => {
                assert!(resume_at > at, "{resume_at} does not lead on from {at}");
                skipped.push((bad, resume_at));
                at = resume_at;
            }
            Err(e) => panic!("{e}"),
        }
    }
}

/// What a machine would find after `kill -9` now: the files as they are, and no lock.
pub(crate) fn crash(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for stream in fs::read_dir(dir).unwrap().map(Result::unwrap).filter(|e| e.file_type().unwrap().is_dir()) {
        let to = copy.path().join(stream.file_name());
        fs::create_dir(&to).unwrap();
        for file in fs::read_dir(stream.path()).unwrap().map(Result::unwrap) {
            // A segment that the background is just making is renamed or removed at any time.
            let copied = fs::copy(file.path(), to.join(file.file_name()));
            assert!(copied.is_ok() || file.file_name() == "next.tmp", "{copied:?}");
        }
    }
    copy
}

pub(crate) fn only_abandoned(dir: &Path) -> Stream {
    let mut streams = abandoned(dir).unwrap();
    assert_eq!(streams.len(), 1);
    streams.remove(0)
}

/// The segment files of boot 1, by base position.
pub(crate) fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir.join(boot(1).to_string())).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "seg"));
    files.sort();
    files
}

/// Later than any file: keep nothing.
pub(crate) fn keep_nothing() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40)
}
