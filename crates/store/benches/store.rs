//! What the store costs on this machine: durable commits beside what the disk itself can do, reads,
//! seals, opening and memory. Prints figures; asserts nothing. `cargo bench -p store`
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and ends where it fails")]

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use model::{Entropy, ManualClock, SeededEntropy, Timestamp, Version};
use store::{
    Backend, Batch, Embedded, EmbeddedOptions, Memory, Node, RootKey, Store, Write, records::SecretVersion,
};
use tempfile::TempDir;

const SECRETS: u64 = 100_000;
const READS: u64 = 300_000;
const RUN: Duration = Duration::from_millis(1500);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    // On the disk of the build, not in a memory file system.
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    println!("memory at the start            {:>9} KiB", resident());
    let file = dir.path().join("store");
    let empty = Embedded::create(&file, EmbeddedOptions::default()).unwrap();
    println!("memory with an empty store     {:>9} KiB", resident());
    drop(empty);
    runtime.block_on(async {
        seals().await;
        secrets(&file).await;
        commits(dir.path()).await;
    });
}

/// Sealing and opening a record of 300 bytes, without a disk.
async fn seals() {
    let store = store(Arc::new(Memory::new())).await;
    let (secret, record) = (Node([1; 16]), SecretVersion { data: vec![b'x'; 300] });
    let key = store.keys().secret_version(secret, Version(1));
    let count = 200_000_u128;
    let start = cpu_time();
    for _ in 0..count {
        let mut transaction = store.transaction();
        transaction.put(&key, &record);
        let _ = std::hint::black_box(transaction);
    }
    println!("encode and seal 300 bytes      {:>9} ns of CPU", cpu_since(start).as_nanos() / count);
    let mut transaction = store.transaction();
    transaction.put(&key, &record);
    transaction.commit().await.unwrap();
    let start = cpu_time();
    for _ in 0..count {
        std::hint::black_box(store.get(&key).await.unwrap());
    }
    println!("get, open, decode, in memory   {:>9} ns of CPU", cpu_since(start).as_nanos() / count);
}

/// A store of many secrets: loading, reading, memory, opening.
async fn secrets(file: &Path) {
    std::fs::remove_file(file).unwrap();
    let store = store(Arc::new(Embedded::create(file, EmbeddedOptions::default()).unwrap())).await;
    let node = |number: u64| {
        // Spread as keyed hashes are.
        let mut node = [0; 16];
        SeededEntropy::new(number).fill(&mut node);
        Node(node)
    };
    let key = |number| store.keys().secret_version(node(number), Version(1));
    let start = Instant::now();
    for chunk in 0..SECRETS / 1000 {
        let mut transaction = store.transaction();
        for number in chunk * 1000..(chunk + 1) * 1000 {
            transaction.put(&key(number), &SecretVersion { data: vec![b'x'; 300] });
        }
        transaction.commit().await.unwrap();
    }
    println!("load {SECRETS} of 300 bytes       {:>9} ms", start.elapsed().as_millis());
    let start = cpu_time();
    for number in 0..READS {
        std::hint::black_box(store.get(&key(number * 7919 % SECRETS)).await.unwrap().unwrap());
    }
    println!("secrets read, opened, a second {:>9} of CPU", per_second(READS, cpu_since(start)));
    println!("memory with {SECRETS} secrets     {:>9} KiB", resident());
    drop(store);
    println!("file                           {:>9} KiB", std::fs::metadata(file).unwrap().len() / 1024);
    for check_on_open in [true, false] {
        let start = Instant::now();
        let options = EmbeddedOptions { check_on_open, ..EmbeddedOptions::default() };
        let backend = Embedded::open(file, options).unwrap();
        println!("open, checked: {check_on_open:<5}           {:>9} ms", start.elapsed().as_millis());
        let keys: Vec<Vec<u8>> =
            backend.scan(b"", None, usize::MAX).await.unwrap().into_iter().map(|(key, _)| key).collect();
        let start = cpu_time();
        for key in keys.iter().cycle().step_by(7919).take(300_000) {
            std::hint::black_box(backend.get(key).await.unwrap());
        }
        println!("raw gets a second              {:>9} of CPU", per_second(READS, cpu_since(start)));
    }
}

/// Durable commits of one small entry by more and more tasks at once, into a store that is not empty.
async fn commits(dir: &Path) {
    let file = dir.join("commits");
    let backend = Arc::new(Embedded::create(&file, EmbeddedOptions::default()).unwrap());
    for chunk in 0..100_u64 {
        let writes = (0..1000).map(|n| Write::Put(spread(chunk * 1000 + n), vec![1; 200])).collect();
        backend.commit(Batch { checks: vec![], writes }).await.unwrap();
    }
    for tasks in [1, 16, 64, 256] {
        let raw = append_and_flush(&dir.join("raw"));
        let next = Arc::new(AtomicU64::new(1_000_000));
        let (backend, start) = (Arc::clone(&backend), Instant::now());
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..tasks {
            let (backend, next) = (Arc::clone(&backend), Arc::clone(&next));
            running.spawn(async move {
                let mut slowest = Duration::ZERO;
                while start.elapsed() < RUN {
                    let key = spread(next.fetch_add(1, Ordering::Relaxed));
                    let began = Instant::now();
                    let writes = vec![Write::Put(key, vec![1; 200])];
                    backend.commit(Batch { checks: vec![], writes }).await.unwrap();
                    slowest = slowest.max(began.elapsed());
                }
                slowest
            });
        }
        let slowest = running.join_all().await.into_iter().max().unwrap();
        let done = next.load(Ordering::Relaxed) - 1_000_000;
        println!(
            "{tasks:>3} committers: {:>7} durable commits a second, slowest {:>6.1} ms; the disk alone: {raw} appends",
            per_second(done, start.elapsed()),
            slowest.as_secs_f64() * 1000.0,
        );
    }
    println!("file                           {:>9} KiB", std::fs::metadata(&file).unwrap().len() / 1024);
}

/// How often a second this disk takes an append of 240 bytes for certain.
fn append_and_flush(path: &Path) -> u64 {
    let mut file: File = OpenOptions::new().create(true).append(true).open(path).unwrap();
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < RUN / 3 {
        file.write_all(&[1; 240]).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    per_second(count, start.elapsed())
}

/// A key of 33 bytes, as far from its neighbours as keyed hashes are.
fn spread(number: u64) -> Vec<u8> {
    let mut key = vec![0; 33];
    SeededEntropy::new(number).fill(&mut key);
    key
}

async fn store(backend: Arc<dyn Backend>) -> Store {
    let entropy = Arc::new(SeededEntropy::new(1));
    let root = RootKey::random(entropy.as_ref());
    Store::init(backend, &root, &ManualClock::new(Timestamp::from_secs(1)), entropy).await.unwrap()
}

fn per_second(count: u64, elapsed: Duration) -> u64 {
    count * 1_000_000 / u64::try_from(elapsed.as_micros().max(1)).unwrap()
}

fn cpu_since(start: Duration) -> Duration {
    cpu_time().saturating_sub(start)
}

/// What this thread has had of a processor, which neighbours do not change much. Where that cannot be
/// told: the time.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let nanos = stat.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    nanos.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

/// This process's resident memory in KiB; 0 where it cannot be told.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}
