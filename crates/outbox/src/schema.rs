//! The schema's name and every statement of this crate, written once with that name in it.

use std::fmt;
use std::sync::Arc;

use fenced_cache::ConfigError;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// A schema's name that needs no escaping: lower-case ASCII letters, digits and `_`, at most 63 characters, not
/// beginning with a digit, nor with `pg_`, which PostgreSQL keeps for itself.
///
/// Everything that this crate puts into a statement beside bound parameters is one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schema(Arc<str>);

impl Schema {
    pub(crate) fn new(name: &str) -> Result<Self, ConfigError> {
        let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        let rest = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !first || !rest || name.len() > 63 || name.starts_with("pg_") {
            return Err(ConfigError {
                setting: "schema".into(),
                value: name.into(),
                allowed: "1 to 63 characters out of a-z, 0-9 and '_', not beginning with a digit or 'pg_'".into(),
            });
        }
        Ok(Self(name.into()))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// The key of an advisory lock for `purpose` in this schema; the same in every process and release (FNV-1a).
    pub(crate) fn lock_key(&self, purpose: &str) -> i64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in format!("outbox {purpose} {}", self.0).bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        i64::from_be_bytes(hash.to_be_bytes())
    }

    /// `template` with `{schema}` replaced by the quoted name.
    pub(crate) fn fill(&self, template: &str) -> String {
        template.replace("{schema}", &format!("\"{}\"", self.0))
    }
}

/// The statements. A `SqlStr` of shared text is cheap to clone, and the same text finds the connection's prepared
/// statement again.
#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) record: Shared,
    pub(crate) settle: Shared,
    pub(crate) unapplied: Shared,
    pub(crate) young: Shared,
    pub(crate) identity: Shared,
    pub(crate) remember: Shared,
    pub(crate) mark: Shared,
    pub(crate) due: Shared,
    pub(crate) any_due: Shared,
    pub(crate) backlog: Shared,
    pub(crate) prune: Shared,
    pub(crate) prune_unread: Shared,
}

/// The text of one statement.
#[derive(Clone)]
pub(crate) struct Shared(Arc<str>);

impl Shared {
    /// `template` with the schema's name in it.
    pub(crate) fn new(schema: &Schema, template: &str) -> Self {
        Self(schema.fill(template).into())
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SqlSafeStr for &Shared {
    // Safe by construction: a constant of this crate with a validated schema name in it.
    fn into_sql_str(self) -> SqlStr {
        AssertSqlSafe(Arc::clone(&self.0)).into_sql_str()
    }
}

impl Statements {
    pub(crate) fn new(schema: &Schema) -> Self {
        let shared = |template: &str| Shared::new(schema, template);
        Self {
            record: shared(
                "insert into {schema}.outbox (keys, tags) values ($1, $2) \
                 returning id, created_at, pg_current_xact_id()::text::bigint",
            ),
            // One snapshot serves `ended` and `recorded`; `status` looks at the present, which is never earlier.
            settle: shared(
                "select pg_visible_in_snapshot($1::text::xid8, pg_current_snapshot()) as ended, \
                 exists (select from {schema}.outbox where id = $2 and created_at = $3) as recorded, \
                 pg_xact_status($1::text::xid8) as status",
            ),
            unapplied: shared(
                "select id, keys, tags from {schema}.outbox where applied_at is null and id > $1 order by id limit $2",
            ),
            young: shared(
                "select id, keys, tags from {schema}.outbox \
                 where (applied_at is null or applied_at > statement_timestamp() - make_interval(secs => $1)) \
                 and id > $2 order by id limit $3",
            ),
            identity: shared("select run_id, replication_id from {schema}.cache_identity where node = $1"),
            remember: shared(
                "insert into {schema}.cache_identity (node, run_id, replication_id) values ($1, $2, $3) \
                 on conflict (node) do update set run_id = excluded.run_id, \
                 replication_id = excluded.replication_id, recorded_at = excluded.recorded_at",
            ),
            // A row that is locked is being marked or pruned by somebody else: never wait for it. `greatest` keeps
            // applied_at >= created_at even if the server's clock is set back in between.
            mark: shared(
                "update {schema}.outbox set applied_at = greatest(clock_timestamp(), created_at) where id in \
                 (select id from {schema}.outbox where id = any($1) and applied_at is null for update skip locked)",
            ),
            // Not `id > last`: ids are drawn before COMMIT, so a lower id may become visible after a higher one.
            // $2 only steps over rows whose invalidation has just failed.
            due: shared(
                "select id, keys, tags from {schema}.outbox where applied_at is null \
                 and created_at <= statement_timestamp() - make_interval(secs => $1) and id > $2 order by id limit $3",
            ),
            any_due: shared(
                "select exists (select from {schema}.outbox where applied_at is null \
                 and created_at <= statement_timestamp() - make_interval(secs => $1) and id > $2)",
            ),
            backlog: shared(
                "select count(*), coalesce(extract(epoch from statement_timestamp() - min(created_at)), 0)::float8 \
                 from (select created_at from {schema}.outbox where applied_at is null order by id limit $1) as open",
            ),
            prune: shared(
                "delete from {schema}.outbox where id in (select id from {schema}.outbox \
                 where applied_at < statement_timestamp() - make_interval(secs => $1) \
                 order by applied_at limit $2 for update skip locked)",
            ),
            // Ids are drawn in about the order of `created_at`, on which there is no index: a look at the first ones is enough.
            prune_unread: shared(
                "delete from {schema}.outbox where id in (select id from \
                 (select id, created_at from {schema}.outbox order by id limit $2) as oldest \
                 where created_at < statement_timestamp() - make_interval(secs => $1))",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_identifiers_are_schemas() {
        let longest = "a".repeat(63);
        for good in ["blog", "_b", "shop_2", longest.as_str()] {
            assert!(Schema::new(good).is_ok(), "{good}");
        }
        let longer = "a".repeat(64);
        let bad = ["", "2b", "Blog", "bl og", "b\"", "b;drop schema blog", "bläg", "b.c", "pg_blog", "b\0", &longer];
        for bad in bad {
            let error = Schema::new(bad).unwrap_err();
            assert_eq!((error.setting.as_str(), error.value.as_str()), ("schema", bad));
        }
    }

    #[test]
    fn lock_keys_are_stable_and_apart() {
        let blog = Schema::new("blog").unwrap();
        // A changed key would let the relays of two releases run beside each other during a rolling update.
        assert_eq!(blog.lock_key("relay"), 5_610_326_234_917_615_371);
        assert_ne!(blog.lock_key("relay"), blog.lock_key("migration"));
        assert_ne!(blog.lock_key("relay"), Schema::new("shop").unwrap().lock_key("relay"));
    }
}
