//! A disk without room, or a process without file descriptors, is an error, never a signal, and heals by itself.
use crate::child;
use crate::util::{Records, SMALL, boot, keep_nothing, open, payload, read};
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use tollgate_journal::{Error, Journal, Position};

/// Fifty times the retry interval of 100 ms.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn a_full_disk_refuses_and_space_that_returns_is_used() {
    let own_mounts = ["unshare", "--mount", "--map-root-user"];
    let possible = Command::new(own_mounts[0]).args(&own_mounts[1..]).arg("true").status();
    if !possible.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "unshare (Debian package util-linux) cannot make a mount namespace");
        eprintln!("SKIPPED: needs unshare and user namespaces to mount a small file system");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut process = child::spawn(&own_mounts, "full::child_on_a_small_disk", dir.path());
    assert_eq!(process.line().as_deref(), Some("full"));
    assert_eq!(process.line().as_deref(), Some("healed"));
    assert!(process.succeeded());
}

#[test]
#[ignore = "a process that another test starts"]
fn child_on_a_small_disk() {
    let Some(dir) = child::dir() else { return };
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=100k", "none"]).arg(&dir).status().unwrap();
    assert!(mounted.success());
    let journal = Journal::open(&dir, boot(1), SMALL).unwrap();
    let mut written = Vec::new();
    let full = loop {
        let record = payload(written.len() as u64, 900);
        match journal.append(&record) {
            Ok(position) => written.push((position, record)),
            Err(e) => break e,
        }
    };
    assert!(matches!(full, Error::Full), "{full}");
    assert!(written.len() > 50, "{} records fitted on 100 KiB", written.len());
    let mut stream = journal.stream();
    assert_eq!(read(&mut stream, Position::START).unwrap(), written);
    child::say("full");
    let end = journal.end();
    stream.confirmed(end, keep_nothing()).unwrap();
    let written = append_when_healed(&journal);
    assert_eq!(read(&mut stream, end).unwrap(), written);
    child::say("healed");
}

#[test]
fn a_folder_that_vanishes_refuses_and_heals_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let (folder, away) = (dir.path().join(boot(1).to_string()), dir.path().join("away"));
    fs::rename(&folder, &away).unwrap();
    let error = (0..100).find_map(|n| journal.append(&payload(n, 900)).err()).unwrap();
    assert!(matches!(error, Error::NoSegment(std::io::ErrorKind::NotFound)), "{error}");
    fs::rename(&away, &folder).unwrap();
    append_when_healed(&journal);
}

#[test]
#[cfg(target_os = "linux")]
fn a_lack_of_file_descriptors_is_told_as_that_and_heals_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = child::spawn(&[], "full::child_without_file_descriptors", dir.path());
    assert_eq!(process.line().as_deref(), Some("no file descriptor is left for the next journal segment"));
    assert_eq!(process.line().as_deref(), Some("healed"));
    assert!(process.succeeded());
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "a process that another test starts"]
fn child_without_file_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Some(dir) = child::dir() else { return };
    let journal = Journal::open(&dir, boot(1), SMALL).unwrap();
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..before }).unwrap();
    let error = (0..100).find_map(|n| journal.append(&payload(n, 900)).err()).unwrap();
    child::say(&error.to_string());
    setrlimit(Resource::Nofile, before).unwrap();
    append_when_healed(&journal);
    child::say("healed");
}

/// More than the current segment has room for: each next one has to be made.
fn append_when_healed(journal: &Journal) -> Records {
    let begin = Instant::now();
    let mut records = Records::new();
    while records.len() < 50 {
        let record = payload(records.len() as u64, 1000);
        match journal.append(&record) {
            Ok(position) => records.push((position, record)),
            Err(e) if begin.elapsed() > PATIENCE => panic!("still {e}"),
            Err(_) => thread::yield_now(),
        }
    }
    records
}
