//! What the granted lock costs beside floors that no lock can be faster than, through the same client in one run.
//!
//! - `cargo run --release -p fenced-lock --example bench -- [redis://127.0.0.1:6379] [ROUNDS]`: a quick look.
//! - `bench worker URL`: one of several processes, told on stdin what to do; `lab lock bench` drives and judges them.
//!
//! The ways: `fenced` is the lock; `bare` its two scripts without it; `set-nx` is `SET NX PX` and a script that deletes;
//! `blpop` hands one token on, each waiter on a connection of its own (a blocked connection serves nobody else);
//! `poll-10` and `poll-1` ask with `SET NX` every 10 ms and every 1 ms.

mod client;
mod contended;
mod quick;
mod uncontended;
mod worker;

use fenced_lock::{FencedSettings, Lock, Namespace, RedisFenced};
use fred::clients::Client;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What one process of the bench has.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) url: String,
    pub(crate) lock: Lock,
    /// Of the floors: one for all, as the lock has one for all.
    pub(crate) client: Client,
}

impl Bench {
    async fn connect(url: &str) -> Result<Self, Failure> {
        let redis = RedisFenced::start(FencedSettings::new(url, Namespace::new("bench")?))?;
        redis.connected().await;
        Ok(Self { url: url.to_owned(), lock: Lock::new(redis), client: client::connect(url).await? })
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["worker", url] => worker::run(&Bench::connect(url).await?).await,
        [] => quick::run(&Bench::connect("redis://127.0.0.1:6379").await?, 10).await,
        [url] => quick::run(&Bench::connect(url).await?, 10).await,
        [url, rounds] => quick::run(&Bench::connect(url).await?, rounds.parse()?).await,
        _ => Err("usage: bench [URL] [ROUNDS] | bench worker URL".into()),
    }
}
