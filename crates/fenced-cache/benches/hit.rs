//! A hit of the library beside a bare GET of a value of the same size, through the same kind of client, in the same
//! run: 64 tasks in one process, and one task alone. The figure to quote is the ratio of the two.
//!
//! `cargo bench -p fenced-cache --bench hit`

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fenced_cache::{BoxError, Cache, Key, Keyspace, Loaded, NoJournal, Policy, Settings};
use fred::clients::Client;
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::config::Config;
use fred::types::{Builder, RespVersion};
use testbed::RedisServer;
use tokio::runtime::Runtime;

const VALUE_BYTES: usize = 1_500;
const KEYS: usize = 1_000;

struct Bench {
    _redis: RedisServer,
    bare: Client,
    cache: Cache,
    policy: Policy,
    keys: Vec<Key>,
}

impl Bench {
    async fn start() -> Self {
        let redis = RedisServer::builder().start().await.expect("a private Redis");
        let mut config = Config::from_url(&redis.url()).expect("its URL");
        config.version = RespVersion::RESP3;
        let mut builder = Builder::from_config(config);
        builder.with_connection_config(|connection| connection.tcp.nodelay = Some(true));
        builder.with_performance_config(|performance| performance.default_command_timeout = Duration::from_millis(200));
        let bare = builder.build().expect("a client");
        bare.init().await.expect("a connection");

        let keyspace = Keyspace::new("bench").expect("a namespace");
        let cache = Cache::start(Settings::new(redis.url(), keyspace.clone()), Arc::new(NoJournal)).expect("a cache");
        // Long enough that no expiry falls into the run.
        let policy = cache.policy(Policy::named("bench", Duration::from_secs(24 * 3_600))).expect("a policy");
        while !cache.health().trusted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let keys: Vec<Key> = (0..KEYS).map(|id| keyspace.entry("post", id as u64)).collect();
        for (id, key) in keys.iter().enumerate() {
            let _: () =
                bare.set(bare_key(id), vec![b'x'; VALUE_BYTES].as_slice(), None, None, false).await.expect("a SET");
            cache.get_or_load(key, &policy, load).await.expect("a fill");
        }
        Self { _redis: redis, bare, cache, policy, keys }
    }
}

fn bare_key(id: usize) -> String {
    format!("bench:bare:{id}")
}

async fn load() -> Result<Option<Loaded>, BoxError> {
    Ok(Some(Loaded::new(vec![b'x'; VALUE_BYTES]).version(1)))
}

/// Runs `operations` split over `tasks` and returns the time from the first to the last.
async fn run<F, Fut>(tasks: u64, operations: u64, operation: F) -> Duration
where
    F: Fn(usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let began = Instant::now();
    let workers = (0..tasks).map(|task| {
        let operation = operation.clone();
        let share = operations / tasks + u64::from(task < operations % tasks);
        tokio::spawn(async move {
            for turn in 0..share {
                operation((task * 31 + turn * 7) as usize % KEYS).await;
            }
        })
    });
    futures_util::future::try_join_all(workers).await.expect("no worker panics");
    began.elapsed()
}

fn hits(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let bench = Arc::new(runtime.block_on(Bench::start()));
    let mut group = criterion.benchmark_group("hit");
    group.throughput(Throughput::Elements(1)).sample_size(20).measurement_time(Duration::from_secs(4));
    for tasks in [1, 64] {
        group.bench_with_input(BenchmarkId::new("bare_get", tasks), &tasks, |b, tasks| {
            b.to_async(&runtime).iter_custom(|operations| {
                let bench = Arc::clone(&bench);
                run(*tasks, operations, move |id| {
                    let bare = bench.bare.clone();
                    async move {
                        let value: bytes::Bytes = bare.get(bare_key(id)).await.expect("a GET");
                        assert_eq!(value.len(), VALUE_BYTES);
                    }
                })
            });
        });
        group.bench_with_input(BenchmarkId::new("fenced_cache", tasks), &tasks, |b, tasks| {
            b.to_async(&runtime).iter_custom(|operations| {
                let bench = Arc::clone(&bench);
                run(*tasks, operations, move |id| {
                    let bench = Arc::clone(&bench);
                    async move {
                        let read = bench.cache.get_or_load(&bench.keys[id], &bench.policy, load).await.expect("a hit");
                        assert_eq!(read.value.expect("a value").len(), VALUE_BYTES);
                    }
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, hits);
criterion_main!(benches);
