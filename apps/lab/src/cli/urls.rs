//! URLs of stores, as flags take them.

pub(crate) fn database_url(text: &str) -> Result<String, String> {
    let expected = || "expected postgres://user:password@host:port/database".to_owned();
    // sqlx reads the parts of any URL, whatever its scheme.
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return Err(expected());
    }
    text.parse::<sqlx::postgres::PgConnectOptions>().map(|_| text.to_owned()).map_err(|_| expected())
}

pub(crate) fn redis_url(text: &str) -> Result<String, String> {
    let expected = || "expected redis://user:password@host:port".to_owned();
    // Without TLS built in, the client would take rediss:// and connect in the clear.
    if !text.starts_with("redis://") {
        return Err(expected());
    }
    fred::types::config::Config::from_url(text).map(|_| text.to_owned()).map_err(|_| expected())
}
