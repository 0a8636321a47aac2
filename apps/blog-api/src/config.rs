//! The command line and the environment.

use std::ffi::OsString;

use clap::{Parser, Subcommand, ValueEnum};
use service::config::{self, DatabaseArgs, Exit, LogArgs, MigrateArgs, Mistakes, RedisUrl, ServerArgs, Settings};

/// A blog, read through a cache.
#[derive(Clone, Debug, Parser)]
#[command(name = "blog-api", version, about)]
pub struct Args {
    /// What to do; `serve` if nothing is said
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Serve the API
    Serve(ServeArgs),
    /// Make or bring up to date the schema `blog` of the database
    Migrate(MigrateArgs),
    /// Print the OpenAPI document
    Openapi,
}

/// The settings of `serve`.
#[derive(Clone, Debug, clap::Args)]
// What a load may take is what its statement may take; the cache's lease outlives both.
#[command(mut_arg("database_statement_timeout", |arg| arg.default_value("2s")))]
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
    /// How reads are cached
    #[arg(long = "cache", env = "CACHE", default_value = "fenced", value_name = "MODE")]
    pub mode: CacheMode,

    /// URL of the cache's Redis; not needed with `--cache off`
    #[arg(long = "cache-redis-url", env = "CACHE_REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub redis_url: Option<RedisUrl>,
}

/// How reads are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CacheMode {
    /// With leases: no stale read after an acknowledged write
    Fenced,
    /// Cache-aside as it is usually written, to see its stale reads
    Naive,
    /// Not at all
    Off,
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
    fn check(&self, mistakes: &mut Mistakes) {
        match (&self.redis_url, self.mode) {
            (_, CacheMode::Off) => {}
            (None, _) => mistakes.add("--cache-redis-url", "", "must be given, unless --cache is off"),
            (Some(url), _) => mistakes.add_unless_plain("--cache-redis-url", url),
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
    use std::time::Duration;

    use super::*;

    fn parsed(line: &str) -> Result<Args, Exit> {
        parse(std::iter::once("blog-api").chain(line.split_whitespace()).map(OsString::from))
    }

    const DATABASE: &str = "--database-url postgres://h/d";

    #[test]
    fn serve_is_what_is_done_if_nothing_is_said() {
        for line in ["serve --cache off", "--cache off"] {
            let Command::Serve(args) = parsed(&format!("{line} {DATABASE}")).unwrap().command else {
                panic!("{line} is not serve")
            };
            assert_eq!(args.cache.mode, CacheMode::Off);
            assert_eq!(args.database.database_pool, 10);
            assert_eq!(args.database.database_statement_timeout, Duration::from_secs(2));
        }
        assert!(matches!(parsed("openapi").unwrap().command, Command::Openapi));
        assert!(matches!(parsed(&format!("migrate {DATABASE}")).unwrap().command, Command::Migrate(_)));
        assert_eq!(parsed("--help").unwrap_err().code, 0);
        assert_eq!(parsed("--version").unwrap_err().code, 0);
    }

    #[test]
    fn a_cache_needs_a_redis() {
        let wrong = |line: &str| {
            let exit = parsed(&format!("{line} {DATABASE}")).unwrap_err();
            assert_eq!(exit.code, 64);
            exit.text
        };
        assert!(wrong("--cache naive").contains("--cache-redis-url (env CACHE_REDIS_URL)"));
        assert!(wrong("--cache-redis-url redis+unix:///run/redis.sock").contains("must begin with redis://"));
        assert!(wrong("--cache maybe --cache-redis-url redis://h").contains("--cache"));
    }
}
