//! A child that ends with the value that stands for it; and if nothing can drop that value, because the process was killed,
//! a shell outside of it ends the child.

use std::{
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Nobody writes to its input: the read ends when the process that holds the other end does.
const UNTIL_THIS_PROCESS_ENDS: &str = "read -r _";
const UNTIL_ENDED: &str = "while kill -0 \"$1\" 2>/dev/null; do sleep 0.2; done";
/// The pause is for the child's last words to its folder.
const END: &str = "kill -s \"$2\" \"$3\"; sleep 0.5; rm -rf \"$4\"";

/// How long a child may run at most.
#[derive(Clone, Copy)]
pub(crate) enum Life {
    /// As long as this process.
    ThisProcess,
    /// As long as the process of that id.
    Process(u32),
}

/// How a child is told to end.
#[derive(Clone, Copy)]
pub(crate) enum EndWith {
    /// It is told nothing and finishes nothing.
    Kill,
    /// PostgreSQL's "immediate": no checkpoint, and no orphans as after SIGKILL.
    Quit,
}

impl EndWith {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Quit => "QUIT",
        }
    }
}

/// A running child. Ended on drop.
pub(crate) struct Guarded {
    child: Child,
    guard: Child,
    end_with: EndWith,
}

impl Guarded {
    /// Starts a child that works in `dir`, which is removed should the guard have to end it.
    pub(crate) fn spawn(command: &mut Command, end_with: EndWith, life: Life, dir: &Path) -> io::Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let (until, watched, input) = match life {
            Life::ThisProcess => (UNTIL_THIS_PROCESS_ENDS, std::process::id(), Stdio::piped()),
            Life::Process(id) => (UNTIL_ENDED, id, Stdio::null()),
        };
        let guard = Command::new("sh")
            .args(["-c", &format!("{until}; {END}"), "guard", &watched.to_string()])
            .args([end_with.name(), &child.id().to_string()])
            .arg(dir)
            .stdin(input)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A signal to the test's group must not end the guard before what it guards.
            .process_group(0)
            .spawn()
            .expect("a shell");
        Ok(Self { child, guard, end_with })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // The guard first: it must not tell a process that has the child's id later. Who has ended already cannot be told.
        let _gone = self.guard.kill();
        let _waited = self.guard.wait();
        if !self.has_ended() {
            signal(self.id(), self.end_with.name());
        }
        let _waited = self.child.wait();
    }
}

/// Sends a signal, such as `STOP`, to a process that runs.
pub(crate) fn signal(pid: u32, name: &str) {
    let told = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(told.is_ok_and(|status| status.success()), "process {pid} cannot be sent {name}");
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{BufRead, BufReader},
        time::Duration,
    };

    use super::*;
    use crate::wait::eventually_blocking;

    /// Tells the copy of this executable what it is.
    const IS_STARTER: &str = "TOLLGATE_TEST_STARTER";
    const STARTED: &str = "started ";

    /// Without a parent that waits for it, an ended process may stay as a zombie.
    fn runs(pid: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with('Z'))
    }

    fn long() -> Command {
        let mut command = Command::new("sleep");
        command.arg("600");
        command
    }

    #[test]
    fn a_server_ends_with_the_process_that_started_it_when_that_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        if std::env::var_os(IS_STARTER).is_some() {
            let dir = dir.keep();
            let server = Guarded::spawn(&mut long(), EndWith::Kill, Life::ThisProcess, &dir).unwrap();
            println!("\n{STARTED}{} {}", server.id(), dir.display());
            std::thread::sleep(Duration::from_secs(600));
        }
        let name = "guard::tests::a_server_ends_with_the_process_that_started_it_when_that_is_killed";
        let mut starter = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(IS_STARTER, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(starter.stdout.take().unwrap()).lines().map(Result::unwrap);
        let started = said.find_map(|line| line.strip_prefix(STARTED).map(str::to_owned)).unwrap();
        let (pid, dir) = started.split_once(' ').unwrap();
        let pid = pid.parse().unwrap();
        assert!(runs(pid) && Path::new(dir).exists());
        starter.kill().unwrap();
        starter.wait().unwrap();
        eventually_blocking("the server and its folder are gone", Duration::from_secs(20), || {
            (!runs(pid) && !Path::new(dir).exists()).then_some(())
        });
    }

    #[test]
    fn a_server_that_outlives_its_starter_ends_with_the_process_that_is_watched() {
        let (dir, mut watched) = (tempfile::tempdir().unwrap(), long().spawn().unwrap());
        let server = Guarded::spawn(&mut long(), EndWith::Quit, Life::Process(watched.id()), dir.path()).unwrap();
        let pid = server.id();
        std::mem::forget(server);
        assert!(runs(pid));
        watched.kill().unwrap();
        watched.wait().unwrap();
        eventually_blocking("the server is gone", Duration::from_secs(20), || (!runs(pid)).then_some(()));
    }

    #[test]
    fn a_server_ends_with_the_value_that_stands_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let server = Guarded::spawn(&mut long(), EndWith::Quit, Life::ThisProcess, dir.path()).unwrap();
        let (pid, guard) = (server.id(), server.guard.id());
        drop(server);
        assert!(!runs(pid) && !runs(guard) && dir.path().exists());
    }
}
