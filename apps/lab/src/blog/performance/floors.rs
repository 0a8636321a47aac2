//! What is the least that an answer costs on this machine: the same run measures it, so that every figure
//! is a ratio and two machines can be compared.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fred::clients::Client;
use fred::interfaces::KeysInterface as _;
use sqlx::{PgPool, Row as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::store::PREFIX;
use crate::measure::latencies::as_f64;
use crate::measure::postgres::Pgbench;

/// Below the blog's prefix, so that it goes when the cache is emptied, and nobody else's.
pub(crate) const VALUE_KEY: &str = "blog:lab:value";

/// Stores the value that bare GETs read. It lives ten minutes, in case the lab is killed.
pub(crate) async fn put_value(client: &Client, bytes: u64) -> anyhow::Result<()> {
    debug_assert!(VALUE_KEY.starts_with(PREFIX));
    let value = "v".repeat(usize::try_from(bytes)?.max(1));
    client.set::<(), _, _>(VALUE_KEY, value, Some(fred::types::Expiration::EX(600)), None, false).await?;
    Ok(())
}

/// GETs a second through one client, as the services' one connection: 64 tasks share it.
pub(crate) async fn redis_gets(client: &Client, tasks: usize, turn: Duration) -> anyhow::Result<f64> {
    let until = Instant::now() + turn;
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        let client = client.clone();
        running.spawn(async move {
            let mut done = 0_u64;
            while Instant::now() < until {
                let value: Option<bytes::Bytes> = client.get(VALUE_KEY).await?;
                ensure!(value.is_some(), "the value of the bare GETs is gone");
                done += 1;
            }
            Ok(done)
        });
    }
    per_second(running, turn).await
}

/// Posts a second over a pool, each with its author and by another id.
pub(crate) async fn sql_posts(database: &PgPool, ids: Vec<i64>, tasks: usize, turn: Duration) -> anyhow::Result<f64> {
    let until = Instant::now() + turn;
    let ids: Arc<[i64]> = ids.into();
    let next = Arc::new(AtomicUsize::new(0));
    let out = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        let (database, ids, next, out) = (database.clone(), ids.clone(), next.clone(), out.clone());
        running.spawn(async move {
            let mut done = 0_u64;
            while Instant::now() < until {
                let Some(&id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) else {
                    out.store(true, Ordering::Relaxed);
                    break;
                };
                post(&database, id).await?;
                done += 1;
            }
            Ok(done)
        });
    }
    let rate = per_second(running, turn).await?;
    // All ids were used up before the time was.
    Ok(if out.load(Ordering::Relaxed) { rate * turn.as_secs_f64() / begun.elapsed().as_secs_f64() } else { rate })
}

async fn per_second(mut running: JoinSet<anyhow::Result<u64>>, turn: Duration) -> anyhow::Result<f64> {
    let mut done = 0;
    while let Some(ended) = running.join_next().await {
        done += ended??;
    }
    Ok(as_f64(done) / turn.as_secs_f64())
}

/// The lab's own SQL for what `GET /posts/{id}` shows.
pub(crate) async fn post(database: &PgPool, id: i64) -> anyhow::Result<()> {
    let row = sqlx::query(
        "select p.id, p.title, p.body, p.tags, p.views, p.comment_count, p.version, p.created_at, p.updated_at, \
         a.name, a.display_name \
         from blog.posts p join blog.authors a on a.id = p.author_id where p.id = $1",
    )
    .bind(id)
    .fetch_one(database)
    .await
    .with_context(|| format!("post {id}"))?;
    // Decoded as a service would: a row that is fetched and not looked at costs less.
    let _: (i64, &str, &str, Vec<String>) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let _: (i64, i32, i64) = (row.try_get(4)?, row.try_get(5)?, row.try_get(6)?);
    let _: (time::OffsetDateTime, time::OffsetDateTime) = (row.try_get(7)?, row.try_get(8)?);
    let _: (&str, &str) = (row.try_get(9)?, row.try_get(10)?);
    Ok(())
}

/// A server that reads a request's end and answers a constant: no HTTP server can be faster here. It
/// has one thread and ends with this value.
#[derive(Debug)]
pub(crate) struct BareServer {
    pub(crate) address: SocketAddr,
    _stop: tokio_util::sync::DropGuard,
}

impl BareServer {
    pub(crate) async fn start(bytes: u64) -> anyhow::Result<Self> {
        let stop = tokio_util::sync::CancellationToken::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let answer: Arc<[u8]> = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {bytes}\r\n\r\n{}",
            "v".repeat(usize::try_from(bytes)?)
        )
        .into_bytes()
        .into();
        let stopped = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("bare".to_owned()).spawn(move || {
            runtime.block_on(stopped.run_until_cancelled(async move {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    tokio::spawn(bare_connection(stream, answer.clone()));
                }
                #[expect(unreachable_code, reason = "gives the block its type")]
                std::io::Result::Ok(())
            }))
        })?;
        Ok(Self { address, _stop: stop.drop_guard() })
    }
}

async fn bare_connection(mut stream: tokio::net::TcpStream, answer: Arc<[u8]>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = Vec::with_capacity(4_096);
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        if input.ends_with(b"\r\n\r\n") {
            stream.write_all(&answer).await?;
            input.clear();
        }
    }
}

/// Transactions a second of `pgbench` reading posts by id over as many connections as the service has; the
/// yardstick of the figure for misses. `None` where there is no pgbench.
///
/// # Errors
/// pgbench was found and failed.
pub(crate) async fn pgbench(database_url: &str, posts: (i64, i64), connections: u32) -> anyhow::Result<Option<f64>> {
    let (first, last) = posts;
    let script = format!(
        "\\set id random({first}, {last})\nselect title, body, tags, version from blog.posts where id = :id;\n"
    );
    Pgbench { database_url, script: &script, clients: connections, seconds: 2 }.run().await
}

#[cfg(test)]
mod tests {
    use super::BareServer;
    use crate::measure::connection::Connection;

    #[tokio::test]
    async fn the_bare_server_answers_until_it_is_dropped() {
        let server = BareServer::start(12).await.unwrap();
        let mut connection = Connection::open(server.address).await.unwrap();
        for _ in 0..3 {
            let response = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            assert_eq!((response.status, response.body.len()), (200, 12));
        }
        drop(server);
        assert!(connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.is_err());
    }
}
