//! The command line and the environment.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Parser, Subcommand};
use service::config::{
    self, DatabaseArgs, Exit, LogArgs, MigrateArgs, Mistakes, RedisUrl, ServerArgs, Settings, bytes, duration,
};

const MILLISECOND: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The near cache is at least this large, or off: in less, an entry would hardly fit.
const LEAST_NEAR: usize = 1 << 20;

/// A product catalog, read through a cache that learns of changes in seven ways.
#[derive(Clone, Debug, Parser)]
#[command(name = "shop-api", version, about)]
pub struct Args {
    /// What to do; `serve` if nothing is said
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it, and only for a moment")]
pub enum Command {
    /// Serve the API
    Serve(ServeArgs),
    /// Make or bring up to date the schema `shop` of the database
    Migrate(MigrateArgs),
    /// Print the OpenAPI document
    Openapi,
}

/// The settings of `serve`.
#[derive(Clone, Debug, clap::Args)]
// What a load may take is what its statement may take; the cache's lease outlives both.
#[command(mut_arg("database_statement_timeout", |arg| arg.default_value("2s")))]
// Above what a change of all prices of a category may take.
#[command(mut_arg("request_timeout", |arg| arg.default_value("15s")))]
pub struct ServeArgs {
    /// Where it listens and how it stops.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Its database.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Its cache.
    #[command(flatten)]
    pub cache: CacheArgs,
    /// Its logs.
    #[command(flatten)]
    pub log: LogArgs,
}

/// How reads are cached.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Cache")]
pub struct CacheArgs {
    /// URL of the cache's Redis
    #[arg(long = "cache-redis-url", env = "CACHE_REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub redis_url: RedisUrl,

    /// Strategy ttl: how long an entry is fresh; strategy swr: the same for what a write cannot name
    #[arg(long, env = "CACHE_TTL", default_value = "10s", value_parser = duration(MILLISECOND..=30 * DAY), value_name = "TIME")]
    pub ttl: Duration,

    /// Strategy combined: memory for the near cache, 1 MiB at least; 0 is none
    #[arg(long, env = "NEAR_CACHE", default_value = "0", value_parser = bytes(0..=1 << 40), value_name = "SIZE")]
    pub near_cache: usize,

    /// The longest that what the near cache answers may be behind an applied write
    #[arg(long, env = "NEAR_GRACE", default_value = "500ms", value_parser = duration(MILLISECOND..=Duration::from_secs(60)), value_name = "TIME")]
    pub near_grace: Duration,

    /// Whether each write waits for --near-grace, so that no near cache of any replica is behind; the same in all replicas
    #[arg(long, env = "NEAR_STRICT")]
    pub near_strict: bool,
}

impl Settings for Args {
    fn check(&self, mistakes: &mut Mistakes) {
        if let Command::Serve(args) = &self.command {
            args.server.check(mistakes);
            args.cache.check(mistakes);
        }
    }
}

impl CacheArgs {
    /// The usual settings for this Redis.
    #[must_use]
    pub fn new(redis_url: RedisUrl) -> Self {
        Self {
            redis_url,
            ttl: Duration::from_secs(10),
            near_cache: 0,
            near_grace: Duration::from_millis(500),
            near_strict: false,
        }
    }

    fn check(&self, mistakes: &mut Mistakes) {
        mistakes.add_unless_plain("--cache-redis-url", &self.redis_url);
        if (1..LEAST_NEAR).contains(&self.near_cache) {
            mistakes.add("--near-cache", self.near_cache, "must be 0 (off), or at least 1MiB");
        }
        if self.near_cache != 0 && self.near_grace <= 2 * crate::app::NEAR_PING {
            let allowed = format!("must be longer than {:?}", 2 * crate::app::NEAR_PING);
            mistakes.add("--near-grace", format!("{:?}", self.near_grace), allowed);
        }
    }
}

/// Reads the settings of this process, or prints what is wrong with them and ends it.
#[must_use]
pub fn load() -> Args {
    parse(std::env::args_os()).unwrap_or_else(|exit| exit.exit())
}

/// The settings in these arguments, of which the first one is the program's name.
///
/// # Errors
/// What to print, and the exit status.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, Exit> {
    config::load_from(config::serve_unless_told(args))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Args, Exit> {
        parse(std::iter::once("shop-api").chain(line.split_whitespace()).map(OsString::from))
    }

    const STORES: &str = "--database-url postgres://h/d --cache-redis-url redis://h";

    #[test]
    fn serve_is_what_is_done_if_nothing_is_said() {
        for line in ["serve", ""] {
            let Command::Serve(args) = parsed(&format!("{line} {STORES}")).unwrap().command else {
                panic!("{line} is not serve")
            };
            assert_eq!(args.database.database_statement_timeout, Duration::from_secs(2));
            assert_eq!((args.cache.ttl, args.cache.near_cache), (Duration::from_secs(10), 0));
        }
        assert!(matches!(parsed("openapi").unwrap().command, Command::Openapi));
        assert!(matches!(parsed("migrate --database-url postgres://h/d").unwrap().command, Command::Migrate(_)));
        assert_eq!(parsed("--help").unwrap_err().code, 0);
        assert_eq!(parsed("--version").unwrap_err().code, 0);
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let wrong = |line: &str| {
            let exit = parsed(&format!("--database-url postgres://h/d {line}")).unwrap_err();
            assert_eq!(exit.code, 64);
            exit.text
        };
        assert!(wrong("").contains("--cache-redis-url"));
        assert!(wrong("--cache-redis-url redis+unix:///run/redis.sock").contains("must begin with redis://"));
        assert!(wrong("--cache-redis-url redis://h --near-cache 1000").contains("--near-cache"));
        assert!(wrong("--cache-redis-url redis://h --near-cache 64MiB --near-grace 200ms").contains("--near-grace"));
        assert!(wrong("--cache-redis-url redis://h --ttl 0s").contains("--ttl"));
    }
}
