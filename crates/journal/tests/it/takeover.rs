//! One stream, one owner, whatever processes there are.
use crate::child;
use crate::util::{SMALL, boot, only_abandoned, open, read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tollgate_journal::{Error, Journal, Position, abandoned};

#[test]
fn a_boot_id_opens_one_journal_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    assert!(matches!(Journal::open(dir.path(), boot(1), SMALL), Err(Error::Taken(b)) if b == boot(1)));
    drop(journal);
    assert!(matches!(Journal::open(dir.path(), boot(1), SMALL), Err(Error::Taken(_))));
    assert!(Journal::open(dir.path(), boot(2), SMALL).is_ok());
}

#[test]
fn a_live_processes_stream_is_nobody_elses_and_a_dead_ones_is_taken_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = child::spawn(&[], "takeover::child_that_holds_a_journal", dir.path());
    assert_eq!(owner.line().as_deref(), Some("open"));
    assert!(abandoned(dir.path()).unwrap().is_empty(), "its process lives");
    owner.kill();
    assert!(!owner.succeeded());
    let mut stream = only_abandoned(dir.path());
    assert_eq!(read(&mut stream, Position::START).unwrap().len(), 1);
    assert!(abandoned(dir.path()).unwrap().is_empty(), "we have it");
    let mut rival = child::spawn(&[], "takeover::child_that_takes_what_is_abandoned", dir.path());
    assert_eq!(rival.line().as_deref(), Some("0"), "we have it");
    drop(stream);
    let mut rival = child::spawn(&[], "takeover::child_that_takes_what_is_abandoned", dir.path());
    assert_eq!(rival.line().as_deref(), Some("1"));
}

#[test]
fn many_who_look_at_once_share_the_streams_without_overlap() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..20 {
        Journal::open(dir.path(), boot(n), SMALL).unwrap().append(&[n]).unwrap();
    }
    let taken: Vec<_> = thread::scope(|s| {
        let lookers: Vec<_> = (0..4).map(|_| s.spawn(|| abandoned(dir.path()).unwrap())).collect();
        lookers.into_iter().flat_map(|l| l.join().unwrap()).collect()
    });
    let mut boots: Vec<_> = taken.iter().map(|s| s.boot()).collect();
    boots.sort();
    assert_eq!(boots, (0..20).map(boot).collect::<Vec<_>>());
}

#[test]
fn a_journal_that_is_just_being_opened_is_not_abandoned() {
    let dir = tempfile::tempdir().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|s| {
        let looker = s.spawn(|| {
            let mut found = 0;
            while !done.load(Ordering::Acquire) {
                found += abandoned(dir.path()).unwrap().len();
            }
            found
        });
        let journals: Vec<_> = (0..100).map(|n| Journal::open(dir.path(), boot(n), SMALL)).collect();
        done.store(true, Ordering::Release);
        assert_eq!(looker.join().unwrap(), 0);
        assert!(journals.iter().all(Result::is_ok));
    });
}

#[test]
#[ignore = "a process that another test starts"]
fn child_that_holds_a_journal() {
    let Some(dir) = child::dir() else { return };
    let journal = open(&dir);
    journal.append(b"mine").unwrap();
    child::say("open");
    loop {
        thread::park();
    }
}

#[test]
#[ignore = "a process that another test starts"]
fn child_that_takes_what_is_abandoned() {
    let Some(dir) = child::dir() else { return };
    child::say(&abandoned(&dir).unwrap().len().to_string());
}
