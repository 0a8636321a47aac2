//! What an experiment is pointed at: the replicas, and the stores behind them.

use crate::data::DataDir;
use crate::exit::Failure;

/// One running system, complete: the HTTP side that is driven and the stores that are looked into.
#[derive(Debug, Clone)]
pub(crate) struct Targets {
    /// Base URL of the API of each replica, as `http://127.0.0.1:8080`.
    pub(crate) replicas: Vec<String>,
    /// Base URL of the admin port of each replica, in the order of `replicas`; may be empty.
    pub(crate) admin: Vec<String>,
    /// The database that the replicas use.
    pub(crate) database_url: String,
    /// The Redis that the replicas cache in.
    pub(crate) cache_redis_url: String,
}

/// Where a stand-alone experiment finds its targets.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TargetArgs {
    /// Base URL of a replica's API; repeat it for each replica [default: the running `lab up`]
    #[arg(long = "target", value_name = "URL", value_parser = base_url)]
    replicas: Vec<String>,

    /// Base URL of a replica's admin port; repeat it in the order of --target
    #[arg(long, value_name = "URL", value_parser = base_url, requires = "replicas")]
    admin: Vec<String>,

    /// The replicas' database; read only together with --target
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,

    /// The replicas' Redis; read only together with --target
    #[arg(long, value_name = "URL", env = "CACHE_REDIS_URL", hide_env_values = true)]
    cache_redis_url: Option<String>,

    /// Data folder of the running `lab up`
    #[arg(long, value_name = "DIR", env = "LAB_DATA")]
    data: Option<std::path::PathBuf>,
}

impl TargetArgs {
    /// The targets named by the flags, or else all of those of the running `lab up`: never a mixture,
    /// because replicas judged by another system's database prove nothing.
    ///
    /// # Errors
    /// [`Failure::Usage`] when `--target` comes without its stores, or when nothing runs.
    pub(crate) fn resolve(self) -> anyhow::Result<Targets> {
        if self.replicas.is_empty() {
            let data = DataDir::locate(self.data)?;
            return Ok(data.running()?.targets());
        }
        let mut wrong = Vec::new();
        if !self.admin.is_empty() && self.admin.len() != self.replicas.len() {
            wrong.push(format!(
                "--admin is given {} times, --target {} times: give one for each replica, or none",
                self.admin.len(),
                self.replicas.len()
            ));
        }
        let database_url = self.database_url.unwrap_or_else(|| {
            wrong.push("--target needs --database-url (or DATABASE_URL): the replicas' database".to_owned());
            String::new()
        });
        let cache_redis_url = self.cache_redis_url.unwrap_or_else(|| {
            wrong.push("--target needs --cache-redis-url (or CACHE_REDIS_URL): the replicas' Redis".to_owned());
            String::new()
        });
        if !wrong.is_empty() {
            return Err(Failure::Usage(wrong).into());
        }
        Ok(Targets { replicas: self.replicas, admin: self.admin, database_url, cache_redis_url })
    }
}

/// Accepts `http://host[:port]`, and drops a trailing slash so that paths can be appended.
fn base_url(text: &str) -> Result<String, String> {
    let trimmed = text.trim_end_matches('/');
    let uri: http::Uri = trimmed.parse().map_err(|_| "expected http://host:port".to_owned())?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() || uri.path() != "/" || uri.query().is_some() {
        return Err("expected http://host:port".to_owned());
    }
    Ok(trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::base_url;

    #[test]
    fn a_base_url_is_http_with_a_host_and_nothing_behind_it() {
        assert_eq!(base_url("http://127.0.0.1:8080/").unwrap(), "http://127.0.0.1:8080");
        for wrong in ["", "127.0.0.1:8080", "https://x:1", "http://", "http://x/posts", "http://x?y"] {
            assert!(base_url(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
