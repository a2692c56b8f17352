//! What the mapping buys: `append` compared with a write call per record, the same frame and the same lock. Justifies segment.rs.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run should say so and stop")]
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use tollgate_journal::{BootId, Durability, Journal, Options};

/// About what a decision takes, and the longest allowed.
const SIZES: [usize; 3] = [64, 256, 4096];

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    for size in SIZES {
        let record = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::new("mapped", size), &record, |b, record| {
            let bench = Bench::open();
            b.iter_custom(|count| bench.run(count, record));
        });
        group.bench_with_input(BenchmarkId::new("write", size), &record, |b, record| {
            let folder = tempfile::tempdir().unwrap();
            let file = Mutex::new((File::create(folder.path().join("records")).unwrap(), Vec::new()));
            b.iter_custom(|count| {
                file.lock().unwrap().0.set_len(0).unwrap();
                let begin = Instant::now();
                for _ in 0..count {
                    write(&file, record);
                }
                begin.elapsed()
            });
        });
    }
    group.finish();
}

/// Two threads, as many as the machine has cores: what each append costs while another thread appends, too.
fn contended(c: &mut Criterion) {
    let mut group = c.benchmark_group("append/two threads");
    let record = [7; 64];
    group.bench_function("mapped", |b| {
        let bench = Bench::open();
        b.iter_custom(|count| {
            thread::scope(|s| {
                let other = s.spawn(|| bench.run(count / 2, &record));
                bench.run(count - count / 2, &record).max(other.join().unwrap())
            })
        });
    });
    group.finish();
}

struct Bench {
    journal: Journal,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn open() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { sync: Durability::None, ..Options::default() };
        let journal = Journal::open(folder.path(), BootId::from_bytes([1; 16]), options).unwrap();
        Bench { journal, _folder: folder }
    }

    /// Full segments are deleted on the way, outside of the time measured, as a shipper would: the disk is finite.
    fn run(&self, mut count: u64, record: &[u8]) -> Duration {
        let mut took = Duration::ZERO;
        while count > 0 {
            let part = count.min(100_000);
            let begin = Instant::now();
            for _ in 0..part {
                black_box(self.journal.append(black_box(record)).unwrap());
            }
            took += begin.elapsed();
            count -= part;
            let far_off = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
            self.journal.stream().confirmed(self.journal.end(), far_off).unwrap();
        }
        took
    }
}

/// The frame is put together in a buffer that is kept, and checked before the lock, as `append` does.
fn write(file: &Mutex<(File, Vec<u8>)>, record: &[u8]) {
    let crc = crc32fast::hash(record);
    let (file, frame) = &mut *file.lock().unwrap();
    frame.clear();
    frame.extend_from_slice(&(record.len() as u32).to_le_bytes());
    frame.extend_from_slice(&crc.to_le_bytes());
    frame.extend_from_slice(record);
    file.write_all(black_box(frame)).unwrap();
}

criterion_group!(benches, append, contended);
criterion_main!(benches);
