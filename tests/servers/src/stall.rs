//! How long the machine kept this process from running: what a wait may take beyond what the service promised.
//!
//! Two parts, measured apart and added:
//! - the kernel counts for each thread how long it could run and no processor was free (`schedstat`). The thread that waited
//!   most counts, so no more is excused than one thread's time; a runtime of one thread, as stories have it, is that thread.
//! - a probe asks for short sleeps: what it oversleeps without having waited for a processor is time in which nothing ran,
//!   such as a stopped process or a virtual machine that was not scheduled.
//!
//! A timer that is set too long, a missed wake-up and a lock held too long are in neither part. What other processes wait
//! for, such as the story's servers, is not excused either.

use std::{
    collections::HashMap,
    fs,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

/// Short compared with every promise, and seldom enough to cost nothing.
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// A timer's own lateness, on a machine with nothing else to do.
const TIMER_SLACK: Duration = Duration::from_millis(1);

/// Measures from its creation on, until it is dropped.
pub(crate) struct Stall {
    waited_before: HashMap<String, Duration>,
    probe: Arc<Mutex<Probe>>,
}

struct Probe {
    /// Its thread, which wakes for the measurement only and is not counted.
    thread: Option<String>,
    asleep_since: Instant,
    overslept: Duration,
}

impl Stall {
    pub(crate) fn measure() -> Self {
        let probe = Probe { thread: None, asleep_since: Instant::now(), overslept: Duration::ZERO };
        let probe = Arc::new(Mutex::new(probe));
        let shared = Arc::downgrade(&probe);
        thread::spawn(move || run_probe(&shared));
        Self { waited_before: waits(), probe }
    }

    /// The sum of both parts so far.
    pub(crate) fn so_far(&self) -> Duration {
        let probe = lock(&self.probe);
        let before = |thread: &String| self.waited_before.get(thread).copied().unwrap_or_default();
        let waited = waits()
            .into_iter()
            .filter(|(thread, _)| Some(thread) != probe.thread.as_ref())
            .map(|(thread, waited)| waited.saturating_sub(before(&thread)));
        // The probe may not have woken yet from the sleep in which all stood still.
        let asleep = probe.asleep_since.elapsed().saturating_sub(PROBE_EVERY + TIMER_SLACK);
        waited.max().unwrap_or_default() + probe.overslept + asleep
    }
}

fn run_probe(shared: &Weak<Mutex<Probe>>) {
    let (this, mut waited) = (this_thread(), own_wait());
    while let Some(probe) = shared.upgrade() {
        let asked = Instant::now();
        let mut state = lock(&probe);
        state.asleep_since = asked;
        state.thread.clone_from(&this);
        drop(state);
        drop(probe);
        thread::sleep(PROBE_EVERY);
        let Some(probe) = shared.upgrade() else { return };
        let mut state = lock(&probe);
        let waited_now = own_wait();
        let excused = PROBE_EVERY + TIMER_SLACK + waited_now.saturating_sub(waited);
        state.overslept += asked.elapsed().saturating_sub(excused);
        state.asleep_since = Instant::now();
        waited = waited_now;
    }
}

/// By thread of this process, how long it has waited for a processor; nothing where the kernel does not say.
fn waits() -> HashMap<String, Duration> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let waits = threads.filter_map(|thread| {
        let name = thread.file_name().into_string().ok()?;
        Some((name, wait_in(&fs::read_to_string(thread.path().join("schedstat")).ok()?)?))
    });
    waits.collect()
}

fn own_wait() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    wait_in(&text).unwrap_or_default()
}

/// Time on a processor, time waited for one, and turns; the times in nanoseconds.
fn wait_in(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

fn this_thread() -> Option<String> {
    let link = fs::read_link("/proc/thread-self").ok()?;
    Some(link.file_name()?.to_str()?.to_owned())
}

fn lock(probe: &Mutex<Probe>) -> MutexGuard<'_, Probe> {
    probe.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::wait::{ends_within_promise, within_promise};

    /// Tells the copy of this executable what it is.
    const IS_STOPPED: &str = "TOLLGATE_TEST_STOPPED";

    /// Three for each processor, so that whoever wants one waits for most of the time.
    struct Load(Vec<Child>);

    impl Load {
        fn start() -> Self {
            let count = thread::available_parallelism().unwrap().get() * 3;
            Self((0..count).map(|_| Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap()).collect())
        }
    }

    impl Drop for Load {
        fn drop(&mut self) {
            self.0.iter_mut().for_each(|child| child.kill().and_then(|()| child.wait()).map(drop).unwrap());
        }
    }

    /// How long this thread has been on a processor.
    fn ran() -> Duration {
        let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
    }

    #[test]
    fn work_takes_its_own_time_and_that_of_the_stall() {
        let _load = Load::start();
        let (stall, started, before) = (Stall::measure(), Instant::now(), ran());
        while ran() - before < Duration::from_millis(300) {}
        let (took, stalled) = (started.elapsed(), stall.so_far());
        let own = took.saturating_sub(stalled);
        assert!(stalled > Duration::from_millis(100), "{stalled:?} of {took:?}");
        assert!(own > Duration::from_millis(200) && own < Duration::from_millis(400), "{own:?} of {took:?}");
    }

    #[test]
    fn a_sleep_on_a_busy_machine_is_hardly_any_stall() {
        let _load = Load::start();
        let stall = Stall::measure();
        thread::sleep(Duration::from_secs(1));
        let stalled = stall.so_far();
        assert!(stalled < Duration::from_millis(300), "{stalled:?}");
    }

    #[tokio::test]
    #[should_panic(expected = "promised within 100.00ms and not there after")]
    async fn a_broken_promise_fails() {
        within_promise("nothing", Duration::from_millis(100), async || None).await
    }

    #[tokio::test]
    #[should_panic(expected = "promised within 100.00ms and took")]
    async fn what_ends_late_fails() {
        let work = tokio::time::sleep(Duration::from_millis(900));
        ends_within_promise("a long sleep", Duration::from_millis(100), work).await;
    }

    /// A copy of this executable is stopped while it waits for what comes after 200 ms, and keeps its promise of 500.
    #[tokio::test]
    async fn a_promise_is_kept_though_all_stood_still() {
        if std::env::var_os(IS_STOPPED).is_some() {
            println!("\nwaiting");
            // Stopped within the first of these sleeps.
            let mut sleeps = 0;
            return within_promise("three sleeps have ended", Duration::from_millis(500), async || {
                tokio::time::sleep(Duration::from_millis(10)).await;
                sleeps += 1;
                (sleeps == 3).then_some(())
            })
            .await;
        }
        let name = "stall::tests::a_promise_is_kept_though_all_stood_still";
        let mut waiting = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(IS_STOPPED, "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = std::io::BufRead::lines(std::io::BufReader::new(waiting.stdout.take().unwrap()));
        assert!(said.any(|line| line.unwrap() == "waiting"));
        crate::guard::signal(waiting.id(), "STOP");
        thread::sleep(Duration::from_secs(1));
        crate::guard::signal(waiting.id(), "CONT");
        let output = waiting.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        assert!(told.contains("the machine stood still for"), "{told}");
    }
}
