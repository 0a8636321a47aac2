//! The pool of connections to PostgreSQL, and whether the database is there.

use std::future::Future;
use std::time::Duration;

use metrics::gauge;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::{sleep, timeout};

use crate::config::DatabaseArgs;
use crate::health::Check;
use crate::metrics::{DB_CONNECTIONS, DB_CONNECTIONS_MAX};
use crate::problem::Chain;
use crate::{Server, Telemetry};

/// A pooled connection that was not used for this long is asked whether it is still there before it is handed out.
const STALE: Duration = Duration::from_secs(2);
/// How long that may take.
const PING: Duration = Duration::from_millis(500);

/// Between two looks at a database that was there.
const WATCH: Duration = Duration::from_secs(1);
/// Between two looks at one that was not.
const WATCH_FOR_RETURN: Duration = Duration::from_millis(250);
/// How long one look may take.
const LOOK: Duration = Duration::from_secs(2);
/// Looks in a row that must fail before a database that was there counts as gone: one alone may be a failover of a moment.
const PATIENCE: u32 = 2;

/// Makes the pool of a service, adds the critical check `postgres`, the pool's metrics and the hook that closes it.
///
/// Does not connect, so it neither waits nor fails: a service starts also while its database is down, and says so in its readiness. A
/// connection sets `application_name`, `statement_timeout`, and `idle_in_transaction_session_timeout`.
///
/// Must be called inside of the runtime.
pub fn connect(server: &mut Server, args: &DatabaseArgs, application: &str) -> PgPool {
    let pool = pool(args, application);
    publish(server.telemetry(), pool.clone(), "postgres", args.database_pool);
    let check = server.health().critical("postgres");
    let watch = tokio::spawn(watch(options(args, application), check));
    let closing = pool.clone();
    server.on_close("postgres", move || async move {
        watch.abort();
        closing.close().await;
    });
    pool
}

/// Makes a second pool of the same database, as large as the first one, for statements that wait for others while they have a
/// connection. Out of one pool they would take the connections of everybody else.
///
/// `longest` is the most that one statement, or the pause between two of a transaction, may take; so long is a free
/// connection waited for, too. Everything else is as in [`connect`], which makes the check.
pub fn connect_waiting(server: &mut Server, args: &DatabaseArgs, application: &str, longest: Duration) -> PgPool {
    let patient = DatabaseArgs {
        database_wait: longest,
        database_statement_timeout: args.database_statement_timeout.max(longest),
        ..args.clone()
    };
    let pool = pool(&patient, application);
    publish(server.telemetry(), pool.clone(), "postgres-waiting", args.database_pool);
    let closing = pool.clone();
    server.on_close("postgres-waiting", move || async move { closing.close().await });
    pool
}

/// The pool alone, for commands and tests; see [`connect`].
#[must_use]
pub fn pool(args: &DatabaseArgs, application: &str) -> PgPool {
    PgPoolOptions::new()
        .max_connections(args.database_pool)
        .acquire_timeout(args.database_wait)
        // sqlx would ask on each acquire: a round trip more for each query. It asks on each release anyway, so a
        // connection that was in use a moment ago is known to have been there then.
        .test_before_acquire(false)
        .before_acquire(|connection, usage| {
            Box::pin(async move {
                if usage.idle_for < STALE {
                    return Ok(true);
                }
                // Of a peer that is gone without a word nothing would ever come back.
                match timeout(PING, connection.ping()).await {
                    Ok(there) => there.map(|()| true),
                    Err(_elapsed) => Err(sqlx::Error::PoolTimedOut),
                }
            })
        })
        .connect_lazy_with(options(args, application))
}

fn options(args: &DatabaseArgs, application: &str) -> PgConnectOptions {
    let milliseconds = |duration: Duration| format!("{}ms", duration.as_millis());
    args.database_url.options().application_name(application).options([
        ("statement_timeout", milliseconds(args.database_statement_timeout)),
        // A transaction whose process hangs would hold its locks for ever.
        ("idle_in_transaction_session_timeout", milliseconds(args.database_statement_timeout * 2)),
    ])
}

fn publish(telemetry: &Telemetry, pool: PgPool, name: &'static str, most: u32) {
    gauge!(DB_CONNECTIONS_MAX, "pool" => name).set(most);
    let used = gauge!(DB_CONNECTIONS, "pool" => name, "state" => "used");
    let idle = gauge!(DB_CONNECTIONS, "pool" => name, "state" => "idle");
    telemetry.before_scrape(move || {
        let (size, unused) = (pool.size(), u32::try_from(pool.num_idle()).unwrap_or(u32::MAX));
        used.set(size.saturating_sub(unused));
        idle.set(unused.min(size));
    });
}

/// Looks at the database over a connection of its own: under load the pool's are all taken, which is not the same as a
/// database that is gone. Runs for ever.
async fn watch(options: PgConnectOptions, check: Check) {
    let mut connection: Option<PgConnection> = None;
    let mut failed = 0;
    loop {
        match timeout(LOOK, look(&options, &mut connection)).await {
            Ok(Ok(())) => {
                failed = 0;
                check.pass();
            }
            outcome => {
                // What a look that did not end left behind on the connection is not known.
                connection = None;
                failed += 1;
                if failed >= PATIENCE || !check.is_passing() {
                    check.fail(reason(outcome.ok().and_then(Result::err)));
                }
            }
        }
        sleep(if failed == 0 { WATCH } else { WATCH_FOR_RETURN }).await;
    }
}

async fn look(options: &PgConnectOptions, connection: &mut Option<PgConnection>) -> Result<(), sqlx::Error> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(options.connect().await?),
    };
    sqlx::query("select 1").execute(connection).await.map(|_| ())
}

/// Runs a question again whose connection turned out to be dead: the pool hands out what died since it was last used,
/// and after a restart of PostgreSQL that is all of it. Only for what changes nothing, or may be done twice.
///
/// # Errors
/// The last one.
pub async fn again_if_cut<T, F>(ask: impl Fn() -> F) -> Result<T, sqlx::Error>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    let mut left = 3_u32;
    loop {
        match ask().await {
            Err(error) if left > 0 && is_cut(&error) => {
                tracing::debug!(%error, left, "the connection was dead: asking again");
                left -= 1;
                // Nothing but a yield: what is wrong is this connection, not the database.
                sleep(Duration::from_millis(1)).await;
            }
            result => return result,
        }
    }
}

/// Whether this connection was lost, as opposed to none being available.
#[must_use]
pub fn is_cut(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() != std::io::ErrorKind::TimedOut,
        // admin_shutdown, crash_shutdown: said on the connection that ends with it.
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("57P01" | "57P02")),
        _ => false,
    }
}

/// Whether the database cannot answer now, as opposed to having been asked a wrong question.
#[must_use]
pub fn is_unavailable(error: &sqlx::Error) -> bool {
    crate::problem::database::is_unavailable(error)
}

/// Whether the database has not been migrated yet: there is no such table, or no such schema. The readiness says so too.
#[must_use]
pub fn is_unmigrated(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| matches!(&*code, "42P01" | "3F000"))
}

fn reason(error: Option<sqlx::Error>) -> String {
    match error {
        Some(error) => Chain(&error).to_string(),
        None => format!("no answer within {LOOK:?}"),
    }
}
