//! What an experiment is pointed at: the replicas, and the stores behind them.

use crate::data::DataDir;
use crate::exit::Failure;
use crate::fleet::{self, Service};

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

/// What booking-api stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BookingStores {
    pub(crate) database_url: String,
    /// The Redis that the locks and the reservations are in.
    pub(crate) lock_redis_url: String,
    /// The independent Redis of redlock; may be empty.
    pub(crate) redlock_redis_urls: Vec<String>,
}

/// A running booking-api: replicas, and the stores behind them.
#[derive(Debug, Clone)]
pub(crate) struct BookingTargets {
    /// Base URL of the API of each replica.
    pub(crate) replicas: Vec<String>,
    /// Base URL of the admin port of each replica, in the order of `replicas`; may be empty.
    pub(crate) admin: Vec<String>,
    pub(crate) stores: BookingStores,
}

/// What shop-api and shop-worker stand on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShopStores {
    pub(crate) database_url: String,
    /// The Redis that the replicas cache in, and in which the channel of events is.
    pub(crate) cache_redis_url: String,
}

impl ShopStores {
    /// As both programs take it from their environment.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![("DATABASE_URL", self.database_url.clone()), ("CACHE_REDIS_URL", self.cache_redis_url.clone())]
    }
}

/// A running shop-api: replicas, and the stores behind them.
#[derive(Debug, Clone)]
pub(crate) struct ShopTargets {
    /// Base URL of the API of each replica.
    pub(crate) replicas: Vec<String>,
    /// Base URL of the admin port of each replica, in the order of `replicas`; may be empty.
    pub(crate) admin: Vec<String>,
    pub(crate) stores: ShopStores,
}

/// Where a stand-alone experiment on the blog or the shop finds its targets.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TargetArgs {
    /// Base URL of a replica's API; repeat it for each replica [default: in a pod, those of its namespace; else the running `lab up`]
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
    /// The targets named by the flags, or else, in a pod, those of its namespace, or else all of those of the running
    /// `lab up`: never a mixture, because replicas judged by another system's database prove nothing.
    ///
    /// # Errors
    /// [`Failure::Usage`] when `--target` comes without its stores, or when nothing runs.
    pub(crate) async fn resolve(self) -> anyhow::Result<Targets> {
        let data = self.data.clone();
        match self.named(Service::Blog).await? {
            Some(targets) => Ok(targets),
            None => DataDir::locate(data)?.running()?.blog_targets(),
        }
    }

    /// The same for the shop, which has the same stores.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub(crate) async fn resolve_shop(self) -> anyhow::Result<ShopTargets> {
        let data = self.data.clone();
        match self.named(Service::Shop).await? {
            Some(Targets { replicas, admin, database_url, cache_redis_url }) => {
                Ok(ShopTargets { replicas, admin, stores: ShopStores { database_url, cache_redis_url } })
            }
            None => DataDir::locate(data)?.running()?.shop_targets(),
        }
    }

    /// Those that the flags name, or those of this pod's namespace, if either is there.
    async fn named(mut self, service: Service) -> anyhow::Result<Option<Targets>> {
        if self.replicas.is_empty() {
            (self.replicas, self.admin) = of_this_namespace(service).await?;
        }
        if self.replicas.is_empty() {
            return Ok(None);
        }
        let mut wrong = Vec::new();
        wrong.extend(unequal(&self.replicas, &self.admin));
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
        Ok(Some(Targets { replicas: self.replicas, admin: self.admin, database_url, cache_redis_url }))
    }
}

/// Where a stand-alone experiment on booking-api finds its targets.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BookingTargetArgs {
    /// Base URL of a replica's API; repeat it for each replica [default: in a pod, those of its namespace; else the running `lab up`]
    #[arg(long = "target", value_name = "URL", value_parser = base_url)]
    replicas: Vec<String>,

    /// Base URL of a replica's admin port; repeat it in the order of --target
    #[arg(long, value_name = "URL", value_parser = base_url, requires = "replicas")]
    admin: Vec<String>,

    #[command(flatten)]
    stores: BookingStoreArgs,
}

/// The stores of booking-api, or where the lab that has them is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BookingStoreArgs {
    /// The replicas' database
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true, value_parser = crate::cli::database_url)]
    database_url: Option<String>,

    /// The replicas' Redis for locks
    #[arg(long, value_name = "URL", env = "LOCK_REDIS_URL", hide_env_values = true, value_parser = crate::cli::redis_url)]
    lock_redis_url: Option<String>,

    /// The replicas' Redis for redlock, with commas between
    #[arg(long, value_name = "URLS", env = "REDLOCK_REDIS_URLS", hide_env_values = true, value_delimiter = ',', value_parser = crate::cli::redis_url)]
    redlock_redis_urls: Vec<String>,

    /// Data folder of the running `lab up`
    #[arg(long, value_name = "DIR", env = "LAB_DATA")]
    data: Option<std::path::PathBuf>,
}

impl BookingTargetArgs {
    /// The targets named by the flags, or else, in a pod, those of its namespace, or else all of those of the running
    /// `lab up`.
    ///
    /// # Errors
    /// [`Failure::Usage`] when `--target` comes without its stores, or when nothing runs.
    pub(crate) async fn resolve(mut self) -> anyhow::Result<BookingTargets> {
        if self.replicas.is_empty() {
            (self.replicas, self.admin) = of_this_namespace(Service::Booking).await?;
        }
        if self.replicas.is_empty() {
            return DataDir::locate(self.stores.data)?.running()?.booking_targets();
        }
        let mut wrong = Vec::new();
        wrong.extend(unequal(&self.replicas, &self.admin));
        let stores = self.stores.named("--target", &mut wrong);
        if !wrong.is_empty() {
            return Err(Failure::Usage(wrong).into());
        }
        Ok(BookingTargets { replicas: self.replicas, admin: self.admin, stores })
    }
}

impl BookingStoreArgs {
    /// The stores named by the flags, or else those of the running `lab up`.
    ///
    /// # Errors
    /// [`Failure::Usage`] when only some of them are named, or when nothing runs.
    pub(crate) fn resolve(self) -> anyhow::Result<BookingStores> {
        if self.data.is_some() {
            // Replicas that are started on these stores log where the `lab up` does that has them.
            let logs = DataDir::locate(self.data.clone())?.logs();
            fleet::set_home(fleet::Home { binaries: Vec::new(), logs });
        }
        if self.database_url.is_none() && self.lock_redis_url.is_none() && self.redlock_redis_urls.is_empty() {
            return Ok(DataDir::locate(self.data)?.running()?.booking_targets()?.stores);
        }
        let mut wrong = Vec::new();
        let stores = self.named("a store of one's own", &mut wrong);
        if wrong.is_empty() { Ok(stores) } else { Err(Failure::Usage(wrong).into()) }
    }

    fn named(self, what: &str, wrong: &mut Vec<String>) -> BookingStores {
        let database_url = self.database_url.unwrap_or_else(|| {
            wrong.push(format!("{what} needs --database-url (or DATABASE_URL): the replicas' database"));
            String::new()
        });
        let lock_redis_url = self.lock_redis_url.unwrap_or_else(|| {
            wrong.push(format!("{what} needs --lock-redis-url (or LOCK_REDIS_URL): the replicas' Redis for locks"));
            String::new()
        });
        BookingStores { database_url, lock_redis_url, redlock_redis_urls: self.redlock_redis_urls }
    }
}

/// Base URLs of the API and of the admin port of each ready replica in the namespace of this pod; none when this is no pod.
#[cfg(feature = "k8s")]
async fn of_this_namespace(service: Service) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    use crate::cluster::{Cluster, ClusterArgs, in_a_pod};
    if !in_a_pod() {
        return Ok((Vec::new(), Vec::new()));
    }
    let args = ClusterArgs { namespace: std::env::var("POD_NAMESPACE").ok() };
    Ok(Cluster::connect(&args).await?.urls(service).await?.into_iter().unzip())
}

#[cfg(not(feature = "k8s"))]
#[expect(clippy::unused_async, reason = "the other one asks the API server")]
async fn of_this_namespace(_: Service) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    Ok((Vec::new(), Vec::new()))
}

/// What is wrong when not every replica has its admin port.
fn unequal(replicas: &[String], admin: &[String]) -> Option<String> {
    (!admin.is_empty() && admin.len() != replicas.len()).then(|| {
        format!(
            "--admin is given {} times, --target {} times: give one for each replica, or none",
            admin.len(),
            replicas.len()
        )
    })
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
