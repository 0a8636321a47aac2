//! A near hit beside a hit in Redis of the same entry in the same run, 64 tasks and one; and how long another process
//! still answers the old version after a write has been acknowledged.
//!
//! `cargo bench -p fenced-cache --bench near`

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fenced_cache::{
    BoxError, Cache, Effects, Key, Keyspace, Loaded, NoJournal, Outcome, Policy, Read, ReadOptions, Settings,
    WriteOutcome,
};
use testbed::RedisServer;
use tokio::runtime::Runtime;

const VALUE_BYTES: usize = 1_500;
const KEYS: usize = 1_000;

struct Bench {
    _redis: RedisServer,
    reader: Cache,
    writer: Cache,
    policy: Policy,
    plain: Vec<Key>,
    tagged: Vec<Key>,
}

impl Bench {
    async fn start() -> Self {
        let redis = RedisServer::builder().start().await.expect("a private Redis");
        let keyspace = Keyspace::new("bench").expect("a namespace");
        let settings = Settings::new(redis.url(), keyspace.clone());
        // Long enough that no expiry falls into the run.
        let near = settings.clone().near_bytes(64 << 20).near_ttl(Duration::from_secs(24 * 3_600));
        let reader = Cache::start(near, Arc::new(NoJournal)).expect("a cache");
        let writer = Cache::start(settings, Arc::new(NoJournal)).expect("a cache");
        while !(reader.health().near && writer.health().trusted) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let policy =
            reader.policy(Policy::named("bench", Duration::from_secs(24 * 3_600)).near(true)).expect("a policy");
        let plain: Vec<Key> = (0..KEYS).map(|id| keyspace.entry("post", id as u64)).collect();
        let tags = [keyspace.tag("author", 1_u64), keyspace.tag("section", 2_u64)];
        let tagged: Vec<Key> =
            (0..KEYS).map(|id| keyspace.entry("tagged", id as u64).tagged(tags.iter().cloned())).collect();
        for key in plain.iter().chain(&tagged) {
            while reader.get_or_load(key, &policy, load).await.expect("an answer").outcome != Outcome::NearHit {}
        }
        Self { _redis: redis, reader, writer, policy, plain, tagged }
    }
}

async fn load() -> Result<Option<Loaded>, BoxError> {
    Ok(Some(Loaded::new(vec![b'x'; VALUE_BYTES]).version(1)))
}

/// Runs `operations` split over `tasks` and returns the time from the first to the last.
async fn run<F, Fut>(tasks: u64, operations: u64, operation: F) -> Duration
where
    F: Fn(usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Read> + Send,
{
    let began = Instant::now();
    let workers = (0..tasks).map(|task| {
        let operation = operation.clone();
        let share = operations / tasks + u64::from(task < operations % tasks);
        tokio::spawn(async move {
            for turn in 0..share {
                let read = operation((task * 31 + turn * 7) as usize % KEYS).await;
                assert_eq!(read.value.expect("a value").len(), VALUE_BYTES);
            }
        })
    });
    futures_util::future::try_join_all(workers).await.expect("no worker panics");
    began.elapsed()
}

fn hits(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let bench = Arc::new(runtime.block_on(Bench::start()));
    let mut group = criterion.benchmark_group("near");
    group.throughput(Throughput::Elements(1)).sample_size(20).measurement_time(Duration::from_secs(4));
    let near = ReadOptions::new();
    for (name, tagged, options) in
        [("near_hit", false, near), ("near_hit_two_tags", true, near), ("redis_hit", false, near.past_near())]
    {
        for tasks in [1, 64] {
            group.bench_with_input(BenchmarkId::new(name, tasks), &tasks, |b, tasks| {
                b.to_async(&runtime).iter_custom(|operations| {
                    let bench = Arc::clone(&bench);
                    run(*tasks, operations, move |id| {
                        let bench = Arc::clone(&bench);
                        async move {
                            let key = if tagged { &bench.tagged[id] } else { &bench.plain[id] };
                            bench.reader.get_or_load_with(key, &bench.policy, options, load).await.expect("a hit")
                        }
                    })
                });
            });
        }
    }
    group.finish();

    // From the acknowledged write in one process to the first answer with the new version in another, which has the old
    // one near and does nothing but ask. Without a near cache it is the time of one read.
    let mut group = criterion.benchmark_group("stale");
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    group.bench_function("after_an_applied_write", |b| {
        b.to_async(&runtime).iter_custom(|writes| {
            let bench = Arc::clone(&bench);
            async move {
                let mut stale = Duration::ZERO;
                for _ in 0..writes {
                    stale += staleness(&bench).await;
                }
                stale
            }
        });
    });
    group.finish();
    let mut all: Vec<Duration> = runtime.block_on(async {
        let mut all = Vec::new();
        for _ in 0..5_000 {
            all.push(staleness(&bench).await);
        }
        all
    });
    all.sort_unstable();
    println!("stale after 5,000 applied writes: p50 {:?}, p99 {:?}, max {:?}", all[2_500], all[4_950], all[4_999]);
}

async fn staleness(bench: &Arc<Bench>) -> Duration {
    static VERSION: AtomicU64 = AtomicU64::new(1);
    let key = &bench.plain[0];
    let row = || async { Ok::<_, BoxError>(Some(Loaded::new("x").version(VERSION.load(Ordering::SeqCst)))) };
    while bench.reader.get_or_load(key, &bench.policy, row).await.expect("an answer").outcome != Outcome::NearHit {}
    let committed = VERSION.fetch_add(1, Ordering::SeqCst) + 1;
    let (acknowledged, is_acknowledged) = tokio::sync::oneshot::channel();
    let reader = tokio::spawn({
        let bench = Arc::clone(bench);
        async move {
            let key = &bench.plain[0];
            loop {
                let read = bench.reader.get_or_load(key, &bench.policy, row).await.expect("an answer");
                if read.version >= Some(committed) {
                    return Instant::now();
                }
                tokio::task::yield_now().await;
            }
        }
    });
    let outcome = bench.writer.invalidate(Effects::new().delete(key)).await;
    acknowledged.send(Instant::now()).expect("it is waited for");
    assert_eq!(outcome, WriteOutcome::Applied);
    let new = reader.await.expect("the reader ends");
    new.saturating_duration_since(is_acknowledged.await.expect("it was sent"))
}

criterion_group!(benches, hits);
criterion_main!(benches);
