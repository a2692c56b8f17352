//! Running one of this binary's ignored tests as a process of its own.
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

const DIR: &str = "JOURNAL_TEST_DIR";

/// A child whose lines that begin with `> ` can be read. Killed with -9 when dropped.
pub(crate) struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
}

/// `wrapper` is put before the command: a program with its arguments, or nothing.
pub(crate) fn spawn(wrapper: &[&str], test: &str, dir: &Path) -> Process {
    let exe = env::current_exe().unwrap();
    let mut words = wrapper.iter().map(|w| w.as_ref()).chain([exe.as_os_str()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(["--ignored", "--exact", test]).env(DIR, dir).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    Process { child, out }
}

impl Process {
    /// The next line; None at the end of the output.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.out.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(line) = line.strip_prefix("> ").and_then(|l| l.strip_suffix('\n')) {
                return Some(line.to_owned());
            }
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    pub(crate) fn succeeded(&mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the child: where to work. None when somebody runs the ignored tests by hand.
pub(crate) fn dir() -> Option<PathBuf> {
    env::var_os(DIR).map(PathBuf::from)
}

/// In the child: one line to the parent, in one write, past the test harness's capture.
pub(crate) fn say(line: &str) {
    std::io::stdout().lock().write_all(format!("> {line}\n").as_bytes()).unwrap();
}
