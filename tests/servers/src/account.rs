//! PostgreSQL and PgBouncer refuse to run as root: then they run as the user that PostgreSQL's package made.

use std::{ffi::OsStr, fs, os::unix::fs::MetadataExt, path::Path, process::Command};

/// A command that runs `program` as a user whom it accepts; `setpriv` becomes the program, so the pid is its.
pub(crate) fn unprivileged(program: impl AsRef<OsStr>) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

/// Gives that user a folder that this one made.
pub(crate) fn hand_over(dir: &Path) {
    if is_root() {
        let handed = Command::new("chown").arg("postgres:postgres").arg(dir).status().expect("chown starts");
        assert!(handed.success(), "the user postgres does not exist: install the Debian package postgresql");
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
