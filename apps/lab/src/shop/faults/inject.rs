//! Doing it, making sure that it was done, and ending it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use sqlx::PgPool;
use testbed::Direction;

use super::matrix::Fault;
use super::round::Ground;
use crate::fleet::{Stopped, process_state, signal};
use crate::measure::redis::Wire;
use crate::shop::floors::Floors;

/// How long a store that is taken away stays away.
const AWAY: Duration = Duration::from_millis(700);
/// How long a replica is stopped: longer than a lease of the cache, which is three seconds, so that a load that was under way
/// comes back to a lease that others may have had since.
const STOPPED: Duration = Duration::from_millis(3_500);
/// How long a fault may take to show.
const SHOWN: Duration = Duration::from_secs(5);

/// A fault that was seen to be there, and is over.
#[derive(Debug)]
pub(super) struct Injected {
    /// How it was seen.
    pub(super) evidence: String,
    /// From here on everything has to come right.
    pub(super) ended: Instant,
    /// The worker that was killed.
    pub(super) killed: Option<usize>,
}

fn over(evidence: String) -> Injected {
    Injected { evidence, ended: Instant::now(), killed: None }
}

impl Ground<'_> {
    /// Injects the fault, waits for its end, and says how it was seen.
    ///
    /// # Errors
    /// It could not be verified that it was there.
    pub(super) async fn inject(&self, floors: &Floors) -> anyhow::Result<Injected> {
        match self.fault {
            Fault::WorkerKilled => self.kill_worker(floors).await,
            Fault::MessageLost => self.lose_message(floors).await,
            Fault::RedisRestarted => self.restart_redis().await,
            Fault::DatabaseStopped => self.restart_database().await,
            Fault::ReplicaPaused => self.pause_replica().await,
        }
    }

    /// The leader is gone, and then everything is written once.
    async fn kill_worker(&self, floors: &Floors) -> anyhow::Result<Injected> {
        let leader = self.cast.leader().await?;
        let pid = self.cast.workers.states()[leader].pid.context("the leader does not run")?;
        signal(pid, Signal::KILL);
        let ended = Instant::now();
        until("the leader is still there", || !matches!(process_state(pid), Some(state) if state != 'Z')).await?;
        for at in 0..self.goods.len() {
            self.write(at, floors).await?;
        }
        Ok(Injected { evidence: format!("process {pid}, which led, is gone"), ended, killed: Some(leader) })
    }

    /// One event's message is lost, to whomever it goes. In every second round others follow it.
    async fn lose_message(&self, floors: &Floors) -> anyhow::Result<Injected> {
        self.cast.leader().await?;
        let mut lost: Option<Vec<u8>> = None;
        // Both workers are subscribed; the one that stands by must not have what the leader has not.
        let armed = self.stage.way.drop_matching(Direction::ServerToClient, move |message| {
            let Some(number) = number_of(message) else { return false };
            lost.get_or_insert_with(|| number.to_vec()) == number
        });
        self.write(0, floors).await?;
        let mut ended = Instant::now();
        until("the message was not lost to both workers", || armed.count() >= 2).await?;
        let mut evidence = "the message of an event was dropped".to_owned();
        if self.number.is_multiple_of(2) {
            self.write(1, floors).await?;
            ended = Instant::now();
            evidence.push_str(", and another one followed it");
        } else {
            evidence.push_str(", and it was the last");
        }
        armed.disarm();
        Ok(Injected { evidence, ended, killed: None })
    }

    /// SIGKILL, and back on the same port with nothing.
    async fn restart_redis(&self) -> anyhow::Result<Injected> {
        let redis = &self.stage.redis;
        let run_id = || async {
            let server = Wire::connect(&redis.url()).await?.info("server").await?;
            server.get("run_id").cloned().context("Redis has no run_id")
        };
        let before = run_id().await?;
        redis.kill().await;
        tokio::time::sleep(AWAY).await;
        redis.start_again().await.context("Redis does not come back")?;
        let injected = over(String::new());
        let after = run_id().await?;
        ensure!(after != before, "Redis has the run_id that it had before");
        Ok(Injected { evidence: format!("run_id {before:.8} became {after:.8}"), ..injected })
    }

    async fn restart_database(&self) -> anyhow::Result<Injected> {
        let bed = &self.stage.bed;
        let before = started(&bed.database).await?;
        bed.postgres.kill().await;
        tokio::time::sleep(AWAY).await;
        bed.postgres.start_again().await.context("PostgreSQL does not come back")?;
        let injected = over(String::new());
        let after = started(&bed.database).await?;
        ensure!(after != before, "PostgreSQL says that it has been running since {before}");
        Ok(Injected { evidence: format!("the postmaster of {before} became one of {after}"), ..injected })
    }

    /// The last replica stands still.
    async fn pause_replica(&self) -> anyhow::Result<Injected> {
        let states = self.cast.replicas.states();
        let pid = states.last().and_then(|state| state.pid).context("the replica does not run")?;
        let process = Stopped::stop(pid);
        until("the replica is not stopped", || process_state(pid) == Some('T')).await?;
        tokio::time::sleep(STOPPED).await;
        ensure!(process_state(pid) == Some('T'), "the replica did not stay stopped");
        drop(process);
        until("the replica does not go on", || process_state(pid) != Some('T')).await?;
        Ok(over(format!("process {pid} was in state T for {:.1} s", STOPPED.as_secs_f64())))
    }
}

/// The digits of `"number":17` in the message of an event; `None` for every other message.
fn number_of(message: &[u8]) -> Option<&[u8]> {
    let find =
        |needle: &[u8]| message.windows(needle.len()).position(|part| part == needle).map(|at| at + needle.len());
    find(br#""kind":"event""#)?;
    let digits = &message[find(br#""number":"#)?..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    Some(&digits[..end])
}

async fn started(database: &PgPool) -> anyhow::Result<String> {
    let deadline = Instant::now() + SHOWN;
    loop {
        // The first connection of the pool may be one to the server that is gone.
        match sqlx::query_scalar("select pg_postmaster_start_time()::text").fetch_one(database).await {
            Ok(started) => return Ok(started),
            Err(error) => ensure!(Instant::now() < deadline, "PostgreSQL does not answer: {error}"),
        }
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + SHOWN;
    while !condition() {
        ensure!(Instant::now() < deadline, "{what}, {SHOWN:?} later");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::number_of;

    #[test]
    fn only_events_are_lost() {
        let event =
            br#">3\r\n$7\r\nmessage\r\n$11\r\nshop:events\r\n$99\r\n{"v":1,"kind":"event","number":17,"event":{}}"#;
        assert_eq!(number_of(event), Some(&b"17"[..]));
        assert_eq!(number_of(br#"{"v":1,"kind":"heartbeat","number":17}"#), None);
        assert_eq!(number_of(b"+OK\r\n"), None);
    }
}
