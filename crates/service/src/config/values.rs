//! The kinds of values that settings have. Each parser's error says what is allowed.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::redacted;

/// A parser of whole numbers of a range, for `#[arg(value_parser = number(1..=100))]`.
pub fn number<N>(range: RangeInclusive<N>) -> impl Fn(&str) -> Result<N, String> + Clone + Send + Sync + 'static
where
    N: FromStr + PartialOrd + fmt::Display + Clone + Send + Sync + 'static,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
    }
}

/// A parser of durations of a range: `250ms`, `5s`, `2m`, `1h`; `0s` or `0` if the range allows it.
pub fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| {
        let found = parse_duration(text).filter(|duration| range.contains(duration));
        found.ok_or_else(|| {
            format!("must be a duration from {:?} to {:?}, such as 250ms, 5s or 2m", range.start(), range.end())
        })
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let count: u64 = count.parse().ok()?;
    match unit {
        "us" => Some(Duration::from_micros(count)),
        "ms" => Some(Duration::from_millis(count)),
        "s" => Some(Duration::from_secs(count)),
        "m" => count.checked_mul(60).map(Duration::from_secs),
        "h" => count.checked_mul(3600).map(Duration::from_secs),
        // Without a unit nobody knows what 5 is; 0 is 0 in each.
        "" if count == 0 => Some(Duration::ZERO),
        _ => None,
    }
}

/// A parser of sizes in bytes of a range: `1048576`, `64KiB`, `1MiB`.
pub fn bytes(range: RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| {
        let found = parse_bytes(text).filter(|bytes| range.contains(bytes));
        found.ok_or_else(|| {
            format!("must be a size from {} to {} bytes, such as 65536, 64KiB or 1MiB", range.start(), range.end())
        })
    }
}

fn parse_bytes(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    count.parse::<usize>().ok()?.checked_mul(factor)
}

/// A parser of addresses to listen on.
///
/// # Errors
/// What is allowed.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let told = || "must be an IP address and a port, such as 127.0.0.1:8080 or [::]:8080 (port 0: any free one)";
    text.parse().map_err(|_| told().to_owned())
}

/// The URL of a PostgreSQL database. Shown without its password.
#[derive(Clone)]
pub struct DatabaseUrl {
    url: String,
    options: PgConnectOptions,
}

impl DatabaseUrl {
    /// How to connect to it.
    #[must_use]
    pub fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// The URL with its password.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.url
    }
}

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = "must be a PostgreSQL URL such as postgres://user:password@localhost:5432/database";
        let url = Url::parse(text).map_err(|error| format!("{allowed} ({error})"))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(format!("{allowed} (the scheme is {:?})", url.scheme()));
        }
        let options = text.parse().map_err(|error: sqlx::Error| {
            // What it says about a part of the URL may quote it.
            format!("{allowed} ({})", redacted(&crate::problem::Chain(&error).to_string()))
        })?;
        Ok(Self { url: text.to_owned(), options })
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({})", redacted(&self.url))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.url))
    }
}

/// The URL of a Redis server: `redis://`, `rediss://` (TLS), or `redis+unix://` with the path of a socket; which of
/// these an app can use is the app's to say. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// The URL with its password, for the client.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = "must be a Redis URL such as redis://localhost:6379/0, rediss://user:password@host:6379 or redis+unix:///run/redis.sock";
        let wrong = |why: &str| Err(format!("{allowed} ({why})"));
        let url = Url::parse(text).map_err(|error| format!("{allowed} ({error})"))?;
        let path = url.path().trim_start_matches('/');
        match url.scheme() {
            "redis" | "rediss" if url.host_str().unwrap_or_default().is_empty() => wrong("the host is missing"),
            "redis" | "rediss" if !path.is_empty() && path.parse::<u8>().is_err() => {
                wrong("the path is the number of a database")
            }
            "redis" | "rediss" => Ok(Self(text.to_owned())),
            "redis+unix" if path.is_empty() => wrong("the path of the socket is missing"),
            "redis+unix" => Ok(Self(text.to_owned())),
            _ => wrong("the scheme is another one"),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({})", redacted(&self.0))
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.0))
    }
}

/// Which log lines are written: the directives of `RUST_LOG`, such as `info,service::access=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    pub(crate) fn to_env_filter(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        EnvFilter::try_new(text)
            .map(|_| Self(text.to_owned()))
            .map_err(|error| format!("must be a log level or directives such as info,blog_api=debug ({error})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let parse = duration(Duration::ZERO..=Duration::from_secs(3600));
        assert_eq!(parse("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(parse("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(parse("1h").unwrap(), Duration::from_secs(3600));
        assert_eq!(parse("0").unwrap(), Duration::ZERO);
        for odd in ["", "5", "s", "-5s", "5 s", "5S", "1.5s", "2h", "99999999999999999999s", "\u{665}s"] {
            let error = parse(odd).unwrap_err();
            assert!(error.contains("from 0ns to 3600s"), "{odd}: {error}");
        }
        assert!(duration(Duration::ZERO..=Duration::MAX)("9223372036854775807h").is_err(), "no overflow");
    }

    #[test]
    fn sizes() {
        let parse = bytes(1..=1 << 30);
        assert_eq!(parse("1MiB").unwrap(), 1 << 20);
        assert_eq!(parse("65536").unwrap(), 65536);
        for odd in ["", "0", "1MB", "1 MiB", "-1", "2GiB", "99999999999999GiB"] {
            assert!(parse(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn database_urls() {
        for fine in ["postgres://localhost/blog", "postgresql://u:p@[::1]:5433/d", "postgres:///d?host=/run/postgresql"]
        {
            assert!(fine.parse::<DatabaseUrl>().is_ok(), "{fine}");
        }
        for odd in
            ["", "localhost", "mysql://h/d", "postgres", "postgres://h:notaport/d", "postgres://h/d?sslmode=perhaps"]
        {
            let error = odd.parse::<DatabaseUrl>().unwrap_err();
            assert!(error.starts_with("must be a PostgreSQL URL"), "{odd}: {error}");
        }
        let url: DatabaseUrl = "postgres://u:secret@h/d".parse().unwrap();
        assert!(!format!("{url:?} {url}").contains("secret"));
        assert_eq!(url.expose(), "postgres://u:secret@h/d");
    }

    #[test]
    fn redis_urls() {
        for fine in ["redis://localhost", "redis://:pw@h:6379/3", "rediss://u:p@h", "redis+unix:///run/redis.sock"] {
            assert!(fine.parse::<RedisUrl>().is_ok(), "{fine}");
        }
        for odd in ["", "localhost:6379", "http://h", "redis://", "redis://h/x", "redis://h/300", "redis+unix://"] {
            assert!(odd.parse::<RedisUrl>().is_err(), "{odd}");
        }
        assert!(!format!("{:?}", "redis://:secret@h".parse::<RedisUrl>().unwrap()).contains("secret"));
    }

    #[test]
    fn log_filters() {
        assert!("info,sqlx=warn,blog_api::store[request]=trace".parse::<LogFilter>().is_ok());
        assert!("info,sqlx=loud".parse::<LogFilter>().is_err());
    }
}
