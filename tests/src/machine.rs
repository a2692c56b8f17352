//! What the machine says of its processors: `/proc`.

use std::{fs, time::Duration};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// Linux counts processor time in hundredths of a second.
const TICK_MS: u64 = 10;

/// Processor time a process has used.
pub fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    // The command, in parentheses, may hold spaces: fields are counted after it. utime and stime are the 14th and 15th.
    let fields = stat.rsplit_once(')').expect("a command in parentheses").1;
    fields.split_whitespace().skip(11).take(2).map(ticks).sum()
}

/// Processor time that a process and its children have used, those that ended included.
pub fn cpu_of_family(pid: u32) -> Duration {
    let stat = |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = |stat: &str| -> Vec<String> {
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        rest.split_whitespace().map(str::to_owned).collect()
    };
    // As in `cpu`; the parent is the 4th, and what ended children used are the 16th and 17th.
    let sum =
        |fields: &[String], count: usize| fields.iter().skip(11).take(count).map(|text| ticks(text)).sum::<Duration>();
    let mut total = sum(&fields(&stat(pid)), 4);
    for process in fs::read_dir("/proc").expect("Linux").flatten() {
        let Some(child) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let fields = fields(&stat(child));
        if fields.get(1).is_some_and(|parent| *parent == pid.to_string()) {
            total += sum(&fields, 2);
        }
    }
    total
}

/// Bytes of a process that are in memory: all, and those of them that are not parts of files.
pub fn resident(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a figure of memory");
        line.trim().trim_end_matches(" kB").parse().expect("kibibytes")
    };
    (kib("VmRSS:") << 10, kib("RssAnon:") << 10)
}

/// How long one processor core was busy since the start of the machine, the kernel's and the hypervisor's part included.
pub fn busy(core: u32) -> Duration {
    let stat = fs::read_to_string("/proc/stat").expect("Linux");
    let name = format!("cpu{core} ");
    let fields = stat.lines().find_map(|line| line.strip_prefix(&name)).expect("a core of this machine");
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests use is counted as user.
    fields
        .split_whitespace()
        .take(8)
        .map(ticks)
        .enumerate()
        .filter(|(at, _)| !matches!(at, 3 | 4))
        .map(|(_, t)| t)
        .sum()
}

/// The processor's name.
pub fn model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
    model.trim_start_matches([' ', '\t', ':']).to_owned()
}

fn ticks(text: &str) -> Duration {
    Duration::from_millis(TICK_MS * text.parse::<u64>().expect("ticks"))
}

/// Lets this process, and those that it starts, have this many files open at once.
pub fn allow_open_files(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        let raised = Rlimit { current: Some(count), ..limit };
        setrlimit(Resource::Nofile, raised).expect("the hard limit on open files is large enough");
    }
}

/// Changes how many files another process may have open from now on; those that are open stay so.
pub fn set_open_files(pid: u32, count: u64) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process's id");
    let limit = getrlimit(Resource::Nofile);
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(count), ..limit }).expect("a process of our own");
}
