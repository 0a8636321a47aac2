//! How often the database ran the loads of an endpoint, as the database itself counts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use serde::Serialize;
use sqlx::PgPool;

use crate::measure::postgres::statements_view;

/// Where the counts come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// Calls of each statement.
    PgStatStatements,
    /// Scans of each table; coarser, and reported late by the server's processes.
    PgStatUserTables,
}

impl Source {
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::PgStatStatements => "pg_stat_statements",
            Self::PgStatUserTables => "pg_stat_user_tables",
        }
    }
}

/// Reads the database's counters.
#[derive(Debug, Clone)]
pub(crate) struct Counter {
    database: PgPool,
    /// The view, with its schema.
    view: Option<String>,
    pub(crate) source: Source,
}

/// Counters at one moment: statements or tables, and how often each was used.
pub(crate) type Counts = BTreeMap<String, i64>;

impl Counter {
    /// Uses `pg_stat_statements` where it is loaded and visible, the statistics of tables elsewhere.
    pub(crate) async fn find(database: &PgPool) -> anyhow::Result<Self> {
        if let Some(view) = statements_view(database).await? {
            return Ok(Self { database: database.clone(), view: Some(view), source: Source::PgStatStatements });
        }
        Ok(Self { database: database.clone(), view: None, source: Source::PgStatUserTables })
    }

    /// The counters now. Of statements, those that read the blog's tables without changing them.
    pub(crate) async fn read(&self) -> anyhow::Result<Counts> {
        let rows: Vec<(String, i64)> = match &self.view {
            Some(view) => {
                let statement = format!(
                    "select query, sum(calls)::bigint from {view} \
                     where dbid = (select oid from pg_database where datname = current_database()) \
                     and query ~* '\\m(posts|authors|post_tags|comments)\\M' \
                     and query !~* '\\m(insert|update|delete|copy|truncate|lock|pg_stat\\w*)\\M' \
                     group by query"
                );
                sqlx::query_as(sqlx::AssertSqlSafe(statement)).fetch_all(&self.database).await?
            }
            None => {
                sqlx::query_as(
                    "select relname::text, coalesce(seq_scan, 0) + coalesce(idx_scan, 0) from pg_stat_user_tables \
                     where schemaname = 'blog' and relname in ('posts', 'authors', 'post_tags', 'comments')",
                )
                .fetch_all(&self.database)
                .await?
            }
        };
        Ok(rows.into_iter().collect())
    }

    /// The counters once everything that is done is in them.
    ///
    /// # Errors
    /// The counters never stand still: somebody else uses the database.
    pub(crate) async fn settled(&self) -> anyhow::Result<Counts> {
        // Statements are counted when they end. Of tables, an idle process reports up to ten seconds later
        // (PGSTAT_IDLE_INTERVAL in the server's pgstat.c).
        let still = match self.source {
            Source::PgStatStatements => Duration::from_millis(50),
            Source::PgStatUserTables => Duration::from_secs(11),
        };
        let deadline = Instant::now() + still + Duration::from_secs(30);
        let mut counts = self.read().await?;
        let mut since = Instant::now();
        while since.elapsed() < still {
            ensure!(Instant::now() < deadline, "somebody else is using the database: its counters never stand still");
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = self.read().await?;
            if now != counts {
                counts = now;
                since = Instant::now();
            }
        }
        Ok(counts)
    }
}

/// What one load of an endpoint does to the counters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct OneLoad {
    /// Per load, of each statement or table.
    pub(crate) each: Counts,
}

impl OneLoad {
    /// From the counters around `loads` loads that are known to have happened.
    ///
    /// # Errors
    /// The counters did not move by the same amount for each: loads would not be countable by them.
    pub(crate) fn learn(before: &Counts, after: &Counts, loads: i64) -> anyhow::Result<Self> {
        let moved = difference(before, after);
        let each: Counts = moved
            .iter()
            .filter(|(_, count)| **count >= loads && **count % loads == 0)
            .map(|(name, count)| (name.clone(), count / loads))
            .collect();
        if each.is_empty() {
            bail!("the database's counters do not show the loads: {loads} loads moved them by {moved:?}");
        }
        Ok(Self { each })
    }

    /// How many loads lie between two readings: the most that any of its statements was called.
    pub(crate) fn count(&self, before: &Counts, after: &Counts) -> i64 {
        let moved = difference(before, after);
        // Rounded up: half a load is a load that was begun.
        self.each
            .iter()
            .map(|(name, each)| (moved.get(name).copied().unwrap_or(0) + each - 1) / each)
            .max()
            .unwrap_or(0)
    }
}

fn difference(before: &Counts, after: &Counts) -> Counts {
    after
        .iter()
        .map(|(name, count)| (name.clone(), count - before.get(name).copied().unwrap_or(0)))
        .filter(|(_, moved)| *moved > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Counts, OneLoad};

    fn counts(list: &[(&str, i64)]) -> Counts {
        list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn loads_are_counted_by_what_one_load_does() {
        let before = counts(&[("select post", 10), ("select tags", 10), ("other", 5)]);
        let learned =
            OneLoad::learn(&before, &counts(&[("select post", 13), ("select tags", 16), ("other", 6)]), 3).unwrap();
        assert_eq!(learned.each, counts(&[("select post", 1), ("select tags", 2)]));
        let base = counts(&[("select post", 100), ("select tags", 100)]);
        assert_eq!(learned.count(&base, &base), 0);
        assert_eq!(learned.count(&base, &counts(&[("select post", 101), ("select tags", 102), ("other", 99)])), 1);
        assert_eq!(learned.count(&base, &counts(&[("select post", 130), ("select tags", 102)])), 30);
        assert_eq!(learned.count(&base, &counts(&[("select tags", 103)])), 2, "a load that was begun is a load");
    }

    #[test]
    fn a_statement_seen_for_the_first_time_counts() {
        let learned = OneLoad::learn(&Counts::new(), &counts(&[("select post", 2)]), 2).unwrap();
        assert_eq!(learned.count(&Counts::new(), &counts(&[("select post", 64)])), 64);
    }

    #[test]
    fn counters_that_do_not_move_prove_nothing() {
        let same = counts(&[("select post", 10)]);
        assert!(OneLoad::learn(&same, &same, 3).is_err());
        assert!(OneLoad::learn(&same, &counts(&[("select post", 11)]), 3).is_err());
    }
}
