//! Cache-aside as it is usually written: GET, SELECT, SET with a TTL; DEL after the commit.
//!
//! It is here to be caught. Between its SELECT and its SET another client's write and DEL find room, and the SET
//! then stores the old row for a minute. The lab's hunt for stale reads must find some here, or it proves nothing about
//! the other cache. It is plain, not careless: the order of the steps is right, Redis being away is no error.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fenced_cache::{Outcome, ReadError, WriteOutcome, Written};
use fred::clients::Client;
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::Expiration;
use fred::types::config::{Config, ReconnectPolicy};
use service::{Health, Tasks};
use service_cache::Answer;

use super::{Database, LoadDeadlines, Work, committed};
use crate::entry::{Entry, Names};
use crate::error::Error;
use crate::store::{Document, Touched};

/// What all keys begin with, so that this cache and the other one do not read each other's entries.
const NAMESPACE: &str = "blog-naive";

/// How long one command may take.
const COMMAND: Duration = Duration::from_millis(200);

/// Between two looks at the connection, for the check `redis`.
const WATCH: Duration = Duration::from_millis(250);

/// How long a start may take to find Redis before that is worth a line in the log.
const CONNECTS_WITHIN: Duration = Duration::from_secs(1);

/// Reads and writes with a cache-aside.
#[derive(Clone, Debug)]
pub struct Naive {
    database: Database,
    redis: Client,
    names: Names,
    deadlines: LoadDeadlines,
    tasks: Tasks,
}

impl Naive {
    /// Connects in the background.
    ///
    /// # Errors
    /// fred's, for a URL that it does not understand.
    pub fn start(
        database: Database,
        redis_url: &str,
        deadlines: LoadDeadlines,
        tasks: Tasks,
        health: &Health,
    ) -> Result<Self, fred::error::Error> {
        let mut builder =
            fred::types::Builder::from_config(Config { fail_fast: false, ..Config::from_url(redis_url)? });
        builder.set_policy(ReconnectPolicy::new_exponential(0, 50, 1_000, 2));
        builder.with_performance_config(|performance| performance.default_command_timeout = COMMAND);
        builder.with_connection_config(|connection| connection.max_command_attempts = 1);
        let redis = builder.build()?;
        // The task ends with `quit`; until then it connects and connects again.
        let _connecting = redis.connect();
        tokio::spawn(watch(redis.clone(), health.clone()));
        let names = Names::new(fenced_cache::Keyspace::new(NAMESPACE).expect("letters and '-' make a keyspace"));
        Ok(Self { database, redis, names, deadlines, tasks })
    }

    pub(super) async fn get(&self, entry: &Entry) -> Result<Answer, ReadError> {
        let key = self.names.key(entry).name().clone();
        let cached = self.redis.get::<Option<Bytes>, _>(key.clone()).await;
        let reachable = cached.is_ok();
        if let Some((document, age)) = cached.ok().flatten().and_then(decode) {
            let fresh_for = ttl(entry).saturating_sub(age);
            return Ok(Answer { document: Some(document), outcome: Outcome::Hit, age, fresh_for });
        }
        let Some(document) = self.database.load(entry, self.deadlines).await? else {
            return Ok(Answer::loaded(None, Outcome::Miss, Duration::ZERO));
        };
        if !reachable {
            return Ok(Answer::bypassed(Some(document)));
        }
        // This is the moment: what has been written since the SELECT is overwritten here.
        let expires = Expiration::EX(i64::try_from(ttl(entry).as_secs()).unwrap_or(i64::MAX));
        let stored: Result<(), _> = self.redis.set(key, encode(&document), Some(expires), None, false).await;
        let fresh_for = if stored.is_ok() { ttl(entry) } else { Duration::ZERO };
        Ok(Answer::loaded(Some(document), Outcome::Miss, fresh_for))
    }

    pub(super) async fn write<T: Send + 'static>(&self, work: impl Work<T>) -> Result<Written<T>, Error> {
        let this = self.clone();
        let task = async move {
            let (commit, touched) = this.database.transact(work).await?;
            Ok(committed(commit, async move { this.invalidate(&touched).await }).await)
        };
        self.tasks.detached(task).await
    }

    /// The post and its authors' pages. Which pages of lists there are, nobody knows here: those live by their TTL.
    async fn invalidate(&self, touched: &Touched) -> WriteOutcome {
        let authors = touched.authors.iter().filter_map(|name| name.parse().ok()).map(Entry::Author);
        let entries = std::iter::once(Entry::Post(touched.post)).chain(authors);
        let keys: Vec<Bytes> = entries.map(|entry| self.names.key(&entry).name().clone()).collect();
        match self.redis.del::<i64, _>(keys).await {
            Ok(_) => WriteOutcome::Applied,
            Err(error) => {
                tracing::warn!(%error, "the invalidation failed; nobody will repeat it");
                WriteOutcome::Pending
            }
        }
    }

    /// Closes the connection.
    pub async fn stop(self) {
        if let Err(error) = self.redis.quit().await {
            tracing::debug!(%error, "the connection was gone already");
        }
    }
}

fn ttl(entry: &Entry) -> Duration {
    match entry {
        Entry::Popular => Duration::from_secs(30),
        _ => Duration::from_secs(60),
    }
}

/// `<validator> <milliseconds since 1970>`, a line break, the JSON.
fn encode(document: &Document) -> Bytes {
    let mut value = format!("{} {}\n", document.validator, now_ms()).into_bytes();
    value.extend_from_slice(&document.json);
    value.into()
}

fn decode(mut value: Bytes) -> Option<(Document, Duration)> {
    let end = value.iter().position(|&byte| byte == b'\n')?;
    let json = value.split_off(end + 1);
    let (validator, stored) = std::str::from_utf8(&value[..end]).ok()?.split_once(' ')?;
    let age = now_ms().saturating_sub(stored.parse().ok()?);
    Some((Document { json, validator: validator.parse().ok()? }, Duration::from_millis(age)))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

async fn watch(redis: Client, health: Health) {
    let check = health.informative("redis");
    // The first connection takes a moment, which is no news.
    let _late_or_failed = tokio::time::timeout(CONNECTS_WITHIN, redis.wait_for_connect()).await;
    loop {
        if redis.is_connected() {
            check.pass();
        } else {
            check.fail("not connected: reads go to the database");
        }
        tokio::time::sleep(WATCH).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_reads_back_and_garbage_is_a_miss() {
        let document = Document { json: Bytes::from_static(b"{\"a\":\"\\n\"}"), validator: 7 };
        let (read, age) = decode(encode(&document)).unwrap();
        assert_eq!(read, document);
        assert!(age < Duration::from_secs(1));
        for garbage in ["", "\n", "7\n{}", "x 1\n{}", "7 x\n{}", "no line break"] {
            assert_eq!(decode(Bytes::from_static(garbage.as_bytes())), None, "{garbage:?}");
        }
    }
}
