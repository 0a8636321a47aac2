//! What the tests stand on.

use std::time::Duration;

use fenced_lock::{FencedSettings, Lock, Name, Namespace, Options, RedisFenced, Timing};
use fred::clients::Client;
use fred::interfaces::ClientLike;
use fred::types::config::Config;
use fred::types::{Builder, ClusterHash, CustomCommand, Value};
use tokio::time::{Instant, sleep};

/// Times several times shorter than the defaults.
pub(crate) fn quick() -> Timing {
    let ms = Duration::from_millis;
    Timing::default().poll(ms(150)).first_lease(FIRST_LEASE).lease(LEASE).command_timeout(ms(200)).keep(ms(60_000))
}

pub(crate) const FIRST_LEASE: Duration = Duration::from_millis(900);
pub(crate) const LEASE: Duration = Duration::from_millis(1_500);

pub(crate) fn namespace() -> Namespace {
    Namespace::new("test").unwrap()
}

pub(crate) fn name() -> Name {
    Name::new("event", 1).unwrap()
}

pub(crate) fn within(deadline: Duration) -> Options {
    Options::within(deadline).unwrap()
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A granted lock as one process has it.
pub(crate) async fn fenced(url: &str, timing: Timing) -> Lock {
    let redis = RedisFenced::start(FencedSettings::new(url, namespace()).timing(timing)).unwrap();
    redis.connected().await;
    Lock::new(redis)
}

/// A client beside the lock's.
pub(crate) async fn client(url: &str) -> Client {
    let client = Builder::from_config(Config::from_url(url).unwrap()).build().unwrap();
    client.init().await.unwrap();
    client
}

/// Any command.
pub(crate) async fn command(client: &Client, line: &str) -> Value {
    let mut words = line.split(' ');
    let command = CustomCommand::new(words.next().unwrap().to_owned(), ClusterHash::Random, false);
    client.custom(command, words.map(str::to_owned).collect::<Vec<_>>()).await.unwrap()
}

pub(crate) async fn number(client: &Client, line: &str) -> i64 {
    command(client, line).await.as_i64().unwrap()
}

/// Waits for a condition, and says what it waited for if it does not come.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) const LOCK_KEY: &str = "test:fl:{0}:l:event:1";
pub(crate) const QUEUE_KEY: &str = "test:fl:{0}:q:event:1";
