//! PostgreSQL looked at from outside: connections, what it has executed, and what pgbench makes of it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor as _, PgPool};

/// How long a connection of the lab's may be waited for.
const ACQUIRE: Duration = Duration::from_secs(10);

/// A pool with all of its connections open, so that no measurement pays for opening one.
pub(crate) async fn pool(url: &str, connections: u32) -> anyhow::Result<PgPool> {
    let pool = PgPoolOptions::new()
        .min_connections(connections)
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .after_connect(|connection, _| {
            Box::pin(async move {
                // Shown in pg_stat_activity, and by which the lab tells its own sessions from the services'.
                connection.execute("set application_name to 'lab'").await?;
                Ok(())
            })
        })
        .connect(url)
        .await
        .context("the database")?;
    Ok(pool)
}

/// `pg_stat_statements` with its schema, where it is loaded and can be read.
pub(crate) async fn statements_view(database: &PgPool) -> anyhow::Result<Option<String>> {
    let schema: Option<String> = sqlx::query_scalar(
        "select quote_ident(n.nspname) from pg_extension e join pg_namespace n on n.oid = e.extnamespace \
         where e.extname = 'pg_stat_statements'",
    )
    .fetch_optional(database)
    .await?;
    let Some(schema) = schema else { return Ok(None) };
    let view = format!("{schema}.pg_stat_statements");
    // Created but not preloaded, the view is an error to read.
    let read = sqlx::query(sqlx::AssertSqlSafe(format!("select 1 from {view} limit 1"))).execute(database).await;
    Ok(read.is_ok().then_some(view))
}

/// Counts the statements that the services send, by `pg_stat_statements`. (What `pg_stat_database` has instead comes up to
/// ten seconds late, and so cannot be divided by the orders of one second.)
#[derive(Debug, Clone)]
pub(crate) struct Activity {
    database: PgPool,
    view: String,
}

impl Activity {
    /// `None` where the server does not count statements.
    pub(crate) async fn find(database: &PgPool) -> anyhow::Result<Option<Self>> {
        let view = statements_view(database).await?;
        Ok(view.map(|view| Self { database: database.clone(), view }))
    }

    /// The counter now. `begin` and `commit` count, as they are round trips; statements that match one of the patterns
    /// `others` do not, nor do the lab's own about these counters.
    pub(crate) async fn read(&self, others: &[&str]) -> anyhow::Result<i64> {
        let statement = format!(
            "select coalesce(sum(calls), 0)::bigint from {} \
             where dbid = (select oid from pg_database where datname = current_database()) \
             and query !~ 'pg_stat_' and not query ~ any($1)",
            self.view
        );
        let others: Vec<String> = others.iter().map(|&other| other.to_owned()).collect();
        Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).bind(others).fetch_one(&self.database).await?)
    }
}

/// A run of pgbench.
#[derive(Debug, Clone)]
pub(crate) struct Pgbench<'a> {
    pub(crate) database_url: &'a str,
    pub(crate) script: &'a str,
    pub(crate) clients: u32,
    /// Whole, as pgbench takes it.
    pub(crate) seconds: u32,
}

impl Pgbench<'_> {
    /// Transactions a second, the time for connecting left out. `None` where there is no pgbench.
    ///
    /// # Errors
    /// pgbench was found and failed.
    pub(crate) async fn run(&self) -> anyhow::Result<Option<f64>> {
        let Some(program) = find_pgbench() else {
            return Ok(None);
        };
        let script = std::env::temp_dir().join(format!("lab-pgbench-{}.sql", std::process::id()));
        std::fs::write(&script, self.script)?;
        let output = tokio::process::Command::new(program)
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
            .arg(format!("--time={}", self.seconds))
            .arg(format!("--client={}", self.clients.max(2)))
            .arg("--file")
            .arg(&script)
            .arg(self.database_url)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await;
        // A file that is left behind in the folder for them is no reason to fail.
        let _ = std::fs::remove_file(&script);
        let output = output.context("pgbench")?;
        if !output.status.success() {
            bail!("pgbench: {}", String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "));
        }
        parse_tps(&String::from_utf8_lossy(&output.stdout)).context("pgbench did not say how much it did").map(Some)
    }
}

fn parse_tps(text: &str) -> Option<f64> {
    // On a machine so busy that nobody got as far as one commit, there is no such line.
    let nothing = text.lines().any(|line| line == "number of transactions actually processed: 0");
    let said = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    said.or(nothing.then_some(0.0))
}

fn find_pgbench() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // Debian keeps the programs of each version apart; the newest first.
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<PathBuf> = versions.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        versions.sort();
        folders.extend(versions.into_iter().rev().map(|version| version.join("bin")));
    }
    folders.into_iter().map(|folder| folder.join("pgbench")).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::parse_tps;

    #[test]
    fn pgbench_says_how_much_it_did() {
        let text = "pgbench (15.18)\nlatency average = 0.1 ms\ntps = 45123.456789 (without initial connection time)\n";
        assert_eq!(parse_tps(text), Some(45_123.456_789));
        assert_eq!(parse_tps("number of transactions actually processed: 0\nnumber of failed ...\n"), Some(0.0));
        assert_eq!(parse_tps("nothing"), None);
    }
}
