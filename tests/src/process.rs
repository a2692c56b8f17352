//! The real binaries as processes of their own: what can be killed.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    answer::{Client, try_send},
    wait::{eventually, eventually_blocking, free_port},
};

/// Long enough for migrations on a loaded machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// DESIGN: a stop takes at most 30 s; the drain of these processes is set to 0.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// One running binary with its output in files. Killed on drop.
pub struct Process {
    binary: &'static str,
    settings: Vec<(String, String)>,
    environment: Vec<(&'static str, OsString)>,
    child: Option<Child>,
    output: TempDir,
    port: u16,
    starts: u32,
    core: Option<u32>,
    yields: bool,
    small_disk: Option<SmallDisk>,
    open_files: Option<u32>,
    bootstrap_token: Option<&'static str>,
}

impl Process {
    /// `tollgate-api` on a free port with `settings` such as `("database.url", "…")`.
    pub fn api(settings: &[(&str, &str)]) -> Self {
        let mut process = Self::new("tollgate-api", settings);
        process.settings.push(("api.listen".into(), format!("127.0.0.1:{}", process.port)));
        process
    }

    /// `tollgate-worker`, its health on a free port.
    pub fn worker(settings: &[(&str, &str)]) -> Self {
        let mut process = Self::new("tollgate-worker", settings);
        process.settings.push(("worker.listen".into(), format!("127.0.0.1:{}", process.port)));
        process
    }

    fn new(binary: &'static str, settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let output = TempDir::new().expect("a temporary folder");
        Self {
            binary,
            settings,
            environment: Vec::new(),
            child: None,
            output,
            port: free_port(),
            starts: 0,
            core: None,
            yields: false,
            small_disk: None,
            open_files: None,
            bootstrap_token: Some(crate::BOOTSTRAP_TOKEN),
        }
    }

    /// Lets it make its first admin token by itself.
    pub fn without_bootstrap_token(mut self) -> Self {
        self.bootstrap_token = None;
        self
    }

    /// Keeps it on one processor core, with `taskset`.
    pub fn pinned_to(mut self, core: u32) -> Self {
        self.core = Some(core);
        self
    }

    /// Gives it a disk of its own at `folder`, of this many mebibytes and seen by nobody else.
    pub fn with_small_disk(mut self, folder: &Path, mebibytes: u32) -> Self {
        self.small_disk = Some(SmallDisk { folder: folder.to_owned(), mebibytes });
        self
    }

    /// More settings.
    pub fn with(mut self, settings: &[(&str, &str)]) -> Self {
        self.settings.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        self
    }

    /// It may have this many files open and may not raise that, with `prlimit`.
    pub fn with_open_files(mut self, count: u32) -> Self {
        self.open_files = Some(count);
        self
    }

    /// Listens there instead, which is its `port` on 127.0.0.1.
    pub fn listening_on(mut self, listen: &str, port: u16) -> Self {
        self.settings.push(("api.listen".into(), listen.into()));
        self.port = port;
        self
    }

    /// Sets a variable of its environment.
    pub fn with_env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Gives way to all else on its core, with `chrt`.
    pub fn yielding(mut self) -> Self {
        self.yields = true;
        self
    }

    /// Runs the binary with arguments instead of starting it, to its end.
    pub fn run(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(path_of(self.binary));
        self.set_environment(&mut command);
        command.args(arguments).stdin(Stdio::null()).output().expect("the binary runs")
    }

    /// Starts the binary, or starts it again with the same settings on the same port.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.binary);
        self.starts += 1;
        let log = |stream: &str| {
            let path = self.output.path().join(format!("{}.{stream}", self.starts));
            File::create(path).expect("a file for the output")
        };
        let mut command = match (self.core, self.yields, &self.small_disk) {
            _ if self.open_files.is_some() => limited(self.open_files, self.binary),
            (Some(core), ..) => pinned(core, self.binary),
            (None, true, _) => yielding(self.binary),
            (None, false, Some(disk)) => disk.command(self.binary),
            (None, false, None) => Command::new(path_of(self.binary)),
        };
        self.set_environment(&mut command);
        let spawned = command.stdin(Stdio::null()).stdout(log("out")).stderr(log("err")).spawn();
        self.child = Some(spawned.unwrap_or_else(|error| panic!("{} does not start: {error}", self.binary)));
    }

    /// Its settings and its folder, and nothing of ours.
    fn set_environment(&self, command: &mut Command) {
        let inherited = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("TOLLGATE"));
        for name in inherited {
            command.env_remove(name);
        }
        for (key, value) in &self.settings {
            command.env(format!("TOLLGATE__{}", key.replace('.', "__").to_uppercase()), value);
        }
        let token = self.bootstrap_token.map(|token| ("TOLLGATE_BOOTSTRAP_TOKEN", token));
        let others = self.environment.iter().map(|(name, value)| (name, value));
        command.envs(others).envs(token).current_dir(self.output.path());
    }

    /// Waits until it may take traffic.
    pub async fn ready(&mut self) {
        let client = self.client();
        let what = format!("{} is ready", self.binary);
        let ended = eventually(&what, READY_WITHIN, async || {
            let answer = try_send(client.request(reqwest::Method::GET, "/ready")).await;
            let ready = answer.is_ok_and(|answer| answer.status == 200);
            let ended = self.exited();
            (ready || ended.is_some()).then_some(ended)
        })
        .await;
        assert!(ended.is_none(), "{} ended: {ended:?}\n{}", self.binary, self.text());
    }

    /// Starts it and waits until it may take traffic.
    pub async fn start_ready(&mut self) {
        self.start();
        self.ready().await;
    }

    /// A client with no credential.
    pub fn client(&self) -> Client {
        Client::new(format!("http://127.0.0.1:{}", self.port))
    }

    /// A client that may do everything.
    pub fn admin(&self) -> Client {
        self.client().with_credential(crate::BOOTSTRAP_TOKEN)
    }

    /// The running process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running process").id()
    }

    /// Takes all that is left of its small disk.
    pub fn fill_disk(&self) {
        let mut ballast = File::create(self.ballast()).expect("a file on the small disk");
        for size in [64 << 10, 4 << 10, 1] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Gives back what [`fill_disk`](Self::fill_disk) took.
    pub fn free_disk(&self) {
        fs::remove_file(self.ballast()).expect("a file that was made");
    }

    /// Its disk is reached through what it sees.
    fn ballast(&self) -> PathBuf {
        let folder = &self.small_disk.as_ref().expect("a small disk").folder;
        let seen = folder.strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.pid())).join(seen).join("ballast")
    }

    /// SIGKILL: it is told nothing and finishes nothing.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child can be killed");
            child.wait().expect("a killed child ends");
        }
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let told = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        assert!(told.is_ok_and(|status| status.success()), "{} cannot be told to stop", self.binary);
    }

    /// SIGTERM, and how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.ended()
    }

    /// Waits for the end of a process that was told to stop.
    pub fn ended(&mut self) -> ExitStatus {
        let status = eventually_blocking("the process ends", STOP_WITHIN, || self.exited());
        self.child = None;
        status
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().expect("a child can be waited for")
    }

    /// All that it has written, of every start, both streams.
    pub fn text(&self) -> String {
        self.outputs().map(|path| fs::read_to_string(path).expect("output in UTF-8")).collect()
    }

    /// How many lines that it has written hold `text`, without holding all of them at once.
    pub fn lines_with(&self, text: &str) -> usize {
        let lines = |path| BufReader::new(File::open(path).expect("its output")).lines();
        self.outputs().flat_map(lines).filter(|line| line.as_ref().expect("output in UTF-8").contains(text)).count()
    }

    fn outputs(&self) -> impl Iterator<Item = PathBuf> + use<> {
        let files = fs::read_dir(self.output.path()).expect("the output's folder").flatten();
        files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "out" || e == "err"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} wrote:\n{}", self.binary, tail(&self.text()));
        }
        self.kill();
    }
}

/// A file system in memory, mounted where only one process sees it.
struct SmallDisk {
    folder: PathBuf,
    mebibytes: u32,
}

/// What makes a mount that nobody else sees.
const OWN_MOUNTS: [&str; 3] = ["unshare", "--mount", "--map-root-user"];

impl SmallDisk {
    /// Every program becomes the next, so the pid is the binary's.
    fn command(&self, binary: &str) -> Command {
        let script = format!("mount -t tmpfs -o size={}m none \"$0\" && exec \"$1\"", self.mebibytes);
        let mut command = Command::new(OWN_MOUNTS[0]);
        command.args(&OWN_MOUNTS[1..]).args(["sh", "-c", &script]).arg(&self.folder).arg(path_of(binary));
        command
    }
}

/// Whether a process can be given a small disk here; if not, says so, and in CI that is a failure.
pub fn small_disks_are_possible() -> bool {
    let possible = Command::new(OWN_MOUNTS[0]).args(&OWN_MOUNTS[1..]).arg("true").status();
    let possible = possible.is_ok_and(|status| status.success());
    if !possible {
        assert!(std::env::var_os("CI").is_none(), "unshare (Debian package util-linux) cannot make a mount namespace");
        eprintln!("SKIPPED: needs unshare and user namespaces to mount a small file system");
    }
    possible
}

/// What a panicking story shows of a process.
fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// A command that runs a binary of this workspace on one processor core; `taskset` becomes that binary, so the pid is its.
pub fn pinned(core: u32, binary: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(path_of(binary));
    command
}

/// A command that runs a binary of this workspace with a limit on open files that it cannot raise.
fn limited(open_files: Option<u32>, binary: &str) -> Command {
    let mut command = Command::new("prlimit");
    command.args(open_files.map(|count| format!("--nofile={count}:{count}"))).arg(path_of(binary));
    command
}

/// A command that runs a binary of this workspace while its core has nothing else to do.
fn yielding(binary: &str) -> Command {
    let mut command = Command::new("chrt");
    command.args(["--idle", "0"]).arg(path_of(binary));
    command
}

/// Next to the test's own executable, where cargo puts all of one profile.
fn path_of(binary: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of this executable");
    let dirs = test.ancestors().skip(1).take(2);
    let found = dirs.map(|dir| dir.join(binary)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{binary} is not built: run `cargo build --workspace --bins`, as `make test` does"))
}
