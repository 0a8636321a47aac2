//! What the granted lock costs beside the same commands without it, through the same client in the same run.
//!
//! `cargo run --release -p fenced-lock --example bench -- redis://127.0.0.1:6379 [rounds]`
//!
//! - **uncontended**: acquire + release, beside the two scripts sent bare. Rounds of both alternate, so that whatever
//!   else the machine does meets both.
//! - **hand-off**: 64 waiters of one process on one lock, nothing inside, beside 64 `BLPOP`s of one token, each on a
//!   connection of its own (a blocked connection serves nobody else).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fenced_lock::{FencedSettings, Lock, Name, Namespace, Options, RedisFenced};
use fred::clients::Client;
use fred::interfaces::{ClientLike, KeysInterface, LuaInterface};
use fred::types::config::Config;
use fred::types::{Builder, ClusterHash, CustomCommand, RespVersion, Value};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const WAITERS: usize = 64;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "redis://127.0.0.1:6379".into());
    let rounds: usize = arguments.next().map_or(Ok(10), |rounds| rounds.parse())?;

    let redis = RedisFenced::start(FencedSettings::new(&url, Namespace::new("bench")?))?;
    redis.connected().await;
    let lock = Lock::new(redis);
    let client = connect(&url).await?;

    let (mut locked, mut bare) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let pair = (scripts(&client, 1_000).await?, uncontended(&lock, 1_000).await?);
        // The first round warms up.
        if round > 0 {
            bare.extend(pair.0);
            locked.extend(pair.1);
        }
    }
    println!("uncontended acquire + release, {} pairs each", locked.len());
    let (bare, locked) = (percentiles(bare), percentiles(locked));
    println!("  two scripts, bare   p50 {:>9.1?}  p99 {:>9.1?}", bare.0, bare.1);
    println!("  redis-fenced        p50 {:>9.1?}  p99 {:>9.1?}", locked.0, locked.1);
    println!("  ratio of the p50: {:.3}", locked.0.as_secs_f64() / bare.0.as_secs_f64());

    let mut ratios = Vec::new();
    println!("hand-off, {WAITERS} waiters in one process, acquisitions per second");
    for _ in 0..rounds.div_ceil(3) {
        let floor = blpop(&url, &client, Duration::from_secs(2)).await?;
        let granted = contended(&lock, Duration::from_secs(2)).await?;
        println!("  BLPOP {floor:>8.0}   redis-fenced {granted:>8.0}   ratio {:.3}", granted / floor);
        ratios.push(granted / floor);
    }
    ratios.sort_by(f64::total_cmp);
    println!("  median ratio: {:.3}", ratios[ratios.len() / 2]);
    lock.close().await;
    Ok(())
}

async fn uncontended(lock: &Lock, pairs: usize) -> Result<Vec<Duration>, Failure> {
    let (name, options) = (Name::new("bench", 1)?, Options::within(Duration::from_secs(5))?);
    let mut took = Vec::with_capacity(pairs);
    for _ in 0..pairs {
        let began = Instant::now();
        lock.acquire(&name, options).await?.release().await?;
        took.push(began.elapsed());
    }
    Ok(took)
}

/// The same two commands with the same arguments.
async fn scripts(client: &Client, pairs: usize) -> Result<Vec<Duration>, Failure> {
    let acquire: String = client.script_load(include_str!("../src/redis/fenced/scripts/acquire.lua")).await?;
    let release: String = client.script_load(include_str!("../src/redis/fenced/scripts/release.lua")).await?;
    let keys = vec!["bench:fl:{0}:l:bare:1", "bench:fl:{0}:q:bare:1"];
    let mut took = Vec::with_capacity(pairs);
    for pair in 0..pairs {
        let began = Instant::now();
        let token = format!("AAAAAAAAAAAAAAAA:{pair}");
        let args = vec![token.as_str(), "0", "1", "3000000", "600000", "bench:fl:{0}:p:"];
        client.evalsha::<Value, _, _, _>(acquire.as_str(), keys.clone(), args).await?;
        let args = vec![token.as_str(), "0", "3000000", "600000", "bench:fl:{0}:p:"];
        client.evalsha::<Value, _, _, _>(release.as_str(), keys.clone(), args).await?;
        took.push(began.elapsed());
    }
    Ok(took)
}

/// Acquisitions per second of all waiters together.
async fn contended(lock: &Lock, time: Duration) -> Result<f64, Failure> {
    let (name, options) = (Name::new("bench", 2)?, Options::within(Duration::from_secs(5))?);
    let counted = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let waiters = (0..WAITERS).map(|_| {
        let (lock, name, counted) = (lock.clone(), name.clone(), Arc::clone(&counted));
        tokio::spawn(async move {
            while began.elapsed() < time {
                lock.acquire(&name, options).await?.release().await?;
                counted.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), Failure>(())
        })
    });
    rate(waiters.collect(), began, &counted).await
}

/// The floor: the least that passing one token between waiters can cost.
async fn blpop(url: &str, client: &Client, time: Duration) -> Result<f64, Failure> {
    client.del::<i64, _>("bench:token").await?;
    client.custom::<i64, _>(CustomCommand::new("RPUSH", ClusterHash::Random, false), vec!["bench:token", "t"]).await?;
    let mut own = Vec::new();
    for _ in 0..WAITERS {
        own.push(connect(url).await?);
    }
    let counted = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let waiters = own.into_iter().map(|blocked| {
        let (client, counted) = (client.clone(), Arc::clone(&counted));
        tokio::spawn(async move {
            while began.elapsed() < time {
                let take = CustomCommand::new("BLPOP", ClusterHash::Random, true);
                blocked.custom::<Value, _>(take, vec!["bench:token", "5"]).await?;
                let give = CustomCommand::new("RPUSH", ClusterHash::Random, false);
                client.custom::<i64, _>(give, vec!["bench:token", "t"]).await?;
                counted.fetch_add(1, Ordering::Relaxed);
            }
            blocked.quit().await?;
            Ok::<(), Failure>(())
        })
    });
    rate(waiters.collect(), began, &counted).await
}

async fn rate(
    waiters: Vec<tokio::task::JoinHandle<Result<(), Failure>>>,
    began: Instant,
    counted: &AtomicU64,
) -> Result<f64, Failure> {
    for waiter in waiters {
        waiter.await??;
    }
    let count = u32::try_from(counted.load(Ordering::Relaxed))?;
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

async fn connect(url: &str) -> Result<Client, Failure> {
    let mut config = Config::from_url(url)?;
    config.version = RespVersion::RESP3;
    let mut builder = Builder::from_config(config);
    builder.with_connection_config(|connection| {
        connection.max_command_attempts = 1;
        connection.tcp.nodelay = Some(true);
    });
    // As the lock's own client, which has a timeout on every command.
    builder.with_performance_config(|performance| performance.default_command_timeout = Duration::from_secs(10));
    let client = builder.build()?;
    client.init().await?;
    Ok(client)
}

fn percentiles(mut took: Vec<Duration>) -> (Duration, Duration) {
    took.sort_unstable();
    (took[took.len() / 2], took[took.len() * 99 / 100])
}
