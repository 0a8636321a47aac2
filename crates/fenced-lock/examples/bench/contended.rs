//! Many waiters on one lock.

use std::time::Duration;

use fenced_lock::{Lock, Name, Options};
use fred::clients::Client;
use fred::interfaces::{ClientLike, KeysInterface, LuaInterface};
use fred::types::{ClusterHash, CustomCommand, Expiration, SetOptions, Value};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::{connect, now};
use crate::uncontended::UNLOCK;
use crate::{Bench, Failure};

/// When each acquisition of one waiter was asked for, was had, and was about to be given back, in nanoseconds of the
/// machine's clock: three numbers each.
pub(crate) type Turns = Vec<u64>;

/// One waiter, and what it has to wait with.
#[derive(Clone, Debug)]
pub(crate) enum Waiter {
    Fenced { lock: Lock, name: Name, options: Options },
    Blpop { blocked: Client, client: Client },
    Poll { client: Client, unlock: String, token: String, every: Duration },
}

/// As many waiters as were asked for, connected.
pub(crate) async fn waiters(bench: &Bench, way: &str, count: usize) -> Result<Vec<Waiter>, Failure> {
    let every = match way {
        "poll-10" => Duration::from_millis(10),
        _ => Duration::from_millis(1),
    };
    let unlock: String = bench.client.script_load(UNLOCK).await?;
    let mut waiters = Vec::with_capacity(count);
    for waiter in 0..count {
        let client = bench.client.clone();
        waiters.push(match way {
            "fenced" => {
                let (name, options) = (Name::new("bench", 2)?, Options::within(Duration::from_secs(30))?);
                Waiter::Fenced { lock: bench.lock.clone(), name, options }
            }
            "blpop" => Waiter::Blpop { blocked: connect(&bench.url).await?, client },
            "poll-10" | "poll-1" => {
                let token = format!("{}:{waiter}", std::process::id());
                Waiter::Poll { client, unlock: unlock.clone(), token, every }
            }
            other => return Err(format!("no way '{other}' with contention").into()),
        });
    }
    Ok(waiters)
}

/// Puts the one token there that `blpop` hands on.
pub(crate) async fn seed(client: &Client) -> Result<(), Failure> {
    client.del::<i64, _>("bench:token").await?;
    push(client).await
}

async fn push(client: &Client) -> Result<(), Failure> {
    let give = CustomCommand::new_static("RPUSH", ClusterHash::Random, false);
    Ok(client.custom::<(), _>(give, vec!["bench:token", "t"]).await?)
}

/// All of them again and again, for so long.
pub(crate) async fn run(waiters: Vec<Waiter>, inside: Duration, time: Duration) -> Result<Vec<Turns>, Failure> {
    let end = now() + u64::try_from(time.as_nanos())?;
    let mut tasks = JoinSet::new();
    for waiter in waiters {
        tasks.spawn(async move {
            let mut turns = Turns::with_capacity(64 * 1024);
            while now() < end {
                waiter.turn(&mut turns, inside).await?;
            }
            waiter.leave().await;
            Ok::<_, Failure>(turns)
        });
    }
    let mut all = Vec::new();
    while let Some(turns) = tasks.join_next().await {
        all.push(turns??);
    }
    Ok(all)
}

impl Waiter {
    async fn turn(&self, turns: &mut Turns, inside: Duration) -> Result<(), Failure> {
        let asked = now();
        match self {
            Self::Fenced { lock, name, options } => {
                let guard = lock.acquire(name, *options).await?;
                turns.extend([asked, now(), section(inside).await]);
                guard.release().await?;
            }
            Self::Blpop { blocked, client } => {
                let take = CustomCommand::new_static("BLPOP", ClusterHash::Random, true);
                blocked.custom::<Value, _>(take, vec!["bench:token", "5"]).await?;
                turns.extend([asked, now(), section(inside).await]);
                push(client).await?;
            }
            Self::Poll { client, unlock, token, every } => {
                let (lease, options) = (Some(Expiration::PX(10_000)), Some(SetOptions::NX));
                let key = "bench:poll:2";
                while client
                    .set::<Option<String>, _, _>(key, token.as_str(), lease.clone(), options.clone(), false)
                    .await?
                    .is_none()
                {
                    sleep(*every).await;
                }
                turns.extend([asked, now(), section(inside).await]);
                client.evalsha::<Value, _, _, _>(unlock.as_str(), vec![key], vec![token.as_str()]).await?;
            }
        }
        Ok(())
    }

    async fn leave(self) {
        if let Self::Blpop { blocked, .. } = self {
            // A client that is merely dropped keeps its connection.
            let _ = blocked.quit().await;
        }
    }
}

/// What is done with the lock; the time at its end.
async fn section(inside: Duration) -> u64 {
    if !inside.is_zero() {
        sleep(inside).await;
    }
    now()
}
