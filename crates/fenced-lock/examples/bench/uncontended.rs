//! One caller, nobody else: what taking and giving back costs.

use fenced_lock::{Name, Options};
use fred::clients::Client;
use fred::interfaces::{KeysInterface, LuaInterface};
use fred::types::{Expiration, SetOptions, Value};
use std::time::{Duration, Instant};

use crate::{Bench, Failure};

pub(crate) const UNLOCK: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// How long each of `pairs` took.
pub(crate) async fn run(bench: &Bench, way: &str, pairs: usize) -> Result<Vec<Duration>, Failure> {
    match way {
        "fenced" => fenced(bench, pairs).await,
        "bare" => bare(&bench.client, pairs).await,
        "set-nx" => set_nx(&bench.client, pairs).await,
        other => Err(format!("no way '{other}' without contention").into()),
    }
}

async fn fenced(bench: &Bench, pairs: usize) -> Result<Vec<Duration>, Failure> {
    let (name, options) = (Name::new("bench", 1)?, Options::within(Duration::from_secs(5))?);
    let mut took = Vec::with_capacity(pairs);
    for _ in 0..pairs {
        let began = Instant::now();
        bench.lock.acquire(&name, options).await?.release().await?;
        took.push(began.elapsed());
    }
    Ok(took)
}

/// The same two commands with the same arguments.
async fn bare(client: &Client, pairs: usize) -> Result<Vec<Duration>, Failure> {
    let acquire: String = client.script_load(include_str!("../../src/redis/fenced/scripts/acquire.lua")).await?;
    let release: String = client.script_load(include_str!("../../src/redis/fenced/scripts/release.lua")).await?;
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

/// The usual lock, without a fence and without a queue.
async fn set_nx(client: &Client, pairs: usize) -> Result<Vec<Duration>, Failure> {
    let unlock: String = client.script_load(UNLOCK).await?;
    let mut took = Vec::with_capacity(pairs);
    for pair in 0..pairs {
        let began = Instant::now();
        let token = format!("AAAAAAAAAAAAAAAA:{pair}");
        let (lease, options) = (Some(Expiration::PX(10_000)), Some(SetOptions::NX));
        client.set::<Value, _, _>("bench:set-nx:1", token.as_str(), lease, options, false).await?;
        client.evalsha::<Value, _, _, _>(unlock.as_str(), vec!["bench:set-nx:1"], vec![token.as_str()]).await?;
        took.push(began.elapsed());
    }
    Ok(took)
}
