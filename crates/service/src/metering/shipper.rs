//! From the journal to a job: sums per key and minute, one unconfirmed batch at a time, sent again until the database's
//! cursor has moved. The cursor decides what must be sent; the job only carries it.

use std::{collections::HashMap, sync::atomic::Ordering, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use tollgate_domain::{
    BootId,
    usage::{JournalSpan, JournalStream},
};
use tollgate_jobs::Push;
use tollgate_journal::{Journal, Position, Stream};
use uuid::Uuid;

use crate::{
    Error, Service,
    metering::{batch_totals::Sums, event::MAX_RECORD},
};

/// Keys of one job, some 50 bytes of JSON each.
const MAX_KEYS: usize = 50_000;
/// Bytes of journal that one batch may cover, so that a job stays short.
const MAX_BYTES: u64 = 16 << 20;
/// Bytes read at a time, which takes some hundred microseconds. With the pause after it, 64 MB a second.
const STEP_BYTES: u64 = 64 << 10;
const STEP_PAUSE: Duration = Duration::from_millis(1);
/// Bytes of journal without rows for a stream after which its cursor moves anyway, so that segments can be deleted.
const SILENT_BYTES: u64 = 4 << 20;
/// A batch that is not confirmed within this time is sent again. The wait doubles up to the second figure, so that a
/// worker that was down for long does not find a queue full of copies.
const RESEND_AFTER: Duration = Duration::from_secs(2);
const RESEND_AT_LAST: Duration = Duration::from_secs(60);
/// Pause between two reads of the cursor while a batch is in progress.
const CONFIRM_EVERY: Duration = Duration::from_millis(25);

/// Ships one boot's journal: this process's own while it runs, or a dead process's to its end.
pub(crate) struct Shipper {
    service: Service,
    stream: Stream,
    boot: BootId,
    /// Per stream, the position up to which nothing beyond the cursor needs sending.
    silent: HashMap<JournalStream, u64>,
    resend_after: Duration,
    /// Until when the database knows that all decisions are in it.
    watermark: Option<DateTime<Utc>>,
    /// Whether this process writes the journal.
    is_own: bool,
}

/// The result of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There was nothing to send.
    Idle,
    /// Everything that was there is sent or stored.
    Sent,
    /// The batch was full, so there may be more at once.
    Full,
}

/// A decision is in the journal this long after its time at the latest: no request takes longer.
const SETTLED_AFTER_SECONDS: i64 = 300;
/// Seconds of the clock between two notes of the watermark: a write per node and minute.
const WATERMARK_EVERY_SECONDS: i64 = 60;

const STREAMS: [JournalStream; 2] = [JournalStream::Usage, JournalStream::Violations];

impl Shipper {
    /// A shipper for this process's own journal.
    pub(crate) fn own(service: Service, journal: &Journal) -> Self {
        Self { is_own: true, ..Self::new(service, journal.stream()) }
    }

    /// A shipper for the journal of a dead process.
    pub(crate) fn new(service: Service, stream: Stream) -> Self {
        let boot = BootId(Uuid::from_bytes(*stream.boot().as_bytes()));
        Self {
            service,
            stream,
            boot,
            silent: HashMap::new(),
            resend_after: RESEND_AFTER,
            watermark: None,
            is_own: false,
        }
    }

    /// Sends what there is, up to a full batch, and waits until the database has it.
    pub(crate) async fn step(&mut self) -> Result<Step, Error> {
        let mut under_way = Vec::new();
        let mut step = Step::Idle;
        let mut confirmed = u64::MAX;
        for stream in STREAMS {
            let cursor = self.service.repository().usage().journal_cursor(self.boot, stream).await?;
            confirmed = confirmed.min(cursor);
            let (began, now) = (self.service.uptime(), self.service.clock().now());
            let lag = i64::try_from(self.stream.end().get().saturating_sub(cursor)).unwrap_or(i64::MAX);
            self.service.metrics().journal_lag.with_label_values(&[stream.as_str()]).set(lag);
            let Some((span, sums, full)) = self.gather(stream, cursor).await? else {
                self.stored_until(stream, began);
                self.note_watermark(stream, now).await?;
                continue;
            };
            let covered = (!full).then_some((began, now));
            step = if full || step == Step::Full { Step::Full } else { Step::Sent };
            // No id of its own: a dead copy must not block the next one, and an extra copy changes nothing.
            let queue = self.service.queue().clone();
            let encode = move || queue.encode(&sums.into_job(stream, span), Push::default());
            // A full batch takes milliseconds, for which checks would wait.
            let encoded =
                tokio::task::spawn_blocking(encode).await.map_err(|error| Error::Internal(error.to_string()))?;
            self.service.queue().push_encoded(encoded?).await?;
            under_way.push((stream, cursor, covered));
        }
        self.let_go(confirmed)?;
        for (stream, from, covered) in under_way {
            let moved = self.moved(stream, from).await?;
            if let Some((until, now)) = covered.filter(|_| moved) {
                self.stored_until(stream, until);
                self.note_watermark(stream, now).await?;
            }
            self.resend_after = if moved { RESEND_AFTER } else { (self.resend_after * 2).min(RESEND_AT_LAST) };
            let result = if moved { "confirmed" } else { "resent" };
            self.service.metrics().batches.with_label_values(&[stream.as_str(), result]).inc();
        }
        Ok(step)
    }

    /// Deletes a dead process's journal once all of it is stored.
    pub(crate) async fn finish(self) -> Result<(), Error> {
        self.service.repository().usage().note_watermark(self.boot, None).await?;
        tracing::info!(boot = %self.boot, "shipped the journal of a former process");
        Ok(self.stream.remove()?)
    }

    /// Sums from `cursor` on, for a job, and whether the batch is full. None when there is nothing worth a job.
    async fn gather(&mut self, stream: JournalStream, cursor: u64) -> Result<Option<(JournalSpan, Sums, bool)>, Error> {
        let mut sums = Sums::default();
        let mut at = self.silent.get(&stream).copied().unwrap_or(cursor).max(cursor);
        let start = at;
        let full = loop {
            let next = self.stream.read(Position::new(at), STEP_BYTES, |_, record| sums.add(stream, record))?.get();
            if next == at {
                break false;
            }
            at = next;
            if sums.len() >= MAX_KEYS || at - start >= MAX_BYTES {
                break true;
            }
            // The thread sleeps, so that a check that waits for the core gets it at once and
            // not at the end of a time slice.
            tokio::time::sleep(STEP_PAUSE).await;
        };
        if sums.len() == 0 && at - cursor < SILENT_BYTES {
            self.silent.insert(stream, at);
            return Ok(None);
        }
        self.silent.remove(&stream);
        let span = JournalSpan { boot: self.boot, from: cursor, to: at };
        Ok(Some((span, sums, full)))
    }

    /// Waits until this batch or an earlier copy has moved the cursor from `from`; false when that takes too long.
    async fn moved(&self, stream: JournalStream, from: u64) -> Result<bool, Error> {
        let deadline = tokio::time::Instant::now() + self.resend_after;
        loop {
            if self.service.repository().usage().journal_cursor(self.boot, stream).await? > from {
                return Ok(true);
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(CONFIRM_EVERY).await;
        }
    }

    /// Records that the database has everything that was decided before this uptime.
    fn stored_until(&self, stream: JournalStream, uptime: Duration) {
        if self.is_own {
            let micros = u64::try_from(uptime.as_micros()).unwrap_or(u64::MAX);
            self.service.stored_until(stream).fetch_max(micros, Ordering::Relaxed);
        }
    }

    /// Tells the database now and then that everything that was decided some time before `now` is in it: a period is closed
    /// once all boots say so of its end. A boot that says nothing is not known to exist, so the first time is at once.
    async fn note_watermark(&mut self, stream: JournalStream, now: DateTime<Utc>) -> Result<(), Error> {
        let until = now - TimeDelta::seconds(SETTLED_AFTER_SECONDS);
        let due = self.watermark.is_none_or(|noted| until - noted >= TimeDelta::seconds(WATERMARK_EVERY_SECONDS));
        if self.is_own && stream == JournalStream::Usage && due {
            self.service.repository().usage().note_watermark(self.boot, Some(until)).await?;
            self.watermark = Some(until);
        }
        Ok(())
    }

    /// Deletes segments that both streams are done with, once they are too old or too many.
    fn let_go(&mut self, confirmed: u64) -> Result<(), Error> {
        let settings = &self.service.config().journal;
        let kept = Duration::from_secs(settings.retention_hours.saturating_mul(3_600));
        let too_many = confirmed.saturating_sub(settings.retention_mib << 20);
        let now = std::time::UNIX_EPOCH + Duration::from_micros(self.service.clock().micros().max(0).unsigned_abs());
        let before = now.checked_sub(kept).unwrap_or(std::time::UNIX_EPOCH);
        self.stream.confirmed(Position::new(confirmed), before)?;
        self.stream.confirmed(Position::new(too_many), now)?;
        Ok(())
    }
}

/// Writes this node's summed refusals to its journal.
pub(crate) fn write_refusals(service: &Service) {
    let Ok(journal) = service.journal() else { return };
    let written = service.refusals().drain(|event| {
        let mut buffer = [0; MAX_RECORD];
        match event.encode(&mut buffer) {
            Some(record) => journal.append(record).map(|_| ()),
            None => Ok(()),
        }
    });
    if let Err(error) = written {
        tracing::warn!(%error, "cannot write refusals to the journal; they wait");
    }
}

/// Sends all of this process's journal and waits until it is stored, at most `at_most`.
pub(crate) async fn ship_all(service: &Service, at_most: Duration) {
    write_refusals(service);
    let Ok(journal) = service.journal() else { return };
    let mut shipper = Shipper::own(service.clone(), journal);
    let boot = shipper.boot;
    let shipped = tokio::time::timeout(at_most, async {
        loop {
            match shipper.step().await {
                Ok(Step::Idle) => break,
                Ok(Step::Sent | Step::Full) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot ship the journal; trying again");
                    tokio::time::sleep(CONFIRM_EVERY).await;
                }
            }
        }
    });
    let shipped = match shipped.await {
        // No decision will follow.
        Ok(()) => service.repository().usage().note_watermark(boot, None).await.is_ok(),
        Err(_) => false,
    };
    if !shipped {
        tracing::warn!("the journal is not shipped yet; the next start on this disk ships it");
    }
}
