//! Clients of one service that press while something is done to it.

use std::sync::Arc;

use anyhow::Context as _;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::args::Common;
use crate::cluster::{self, Cluster, Replicas};
use crate::fleet::Service;
use crate::pressure::{Addresses, BlogConfig, BlogPressure, BookingConfig, BookingPressure, Pressed, Replica};

/// The load on one service. Dropped, it stops.
#[derive(Debug)]
pub(super) struct Press {
    load: Load,
    // The load's list of replicas is kept up to date as long as these live.
    _replicas: Replicas,
    _follower: AbortOnDropHandle<()>,
}

#[derive(Debug)]
enum Load {
    Blog(BlogPressure),
    Booking(BookingPressure),
}

impl Press {
    /// # Errors
    /// The service has no ready replica, or does not take what is needed for the load.
    pub(super) async fn start(
        cluster: &Cluster,
        service: Service,
        common: &Common,
        database: &PgPool,
    ) -> anyhow::Result<Self> {
        cluster.ready(service).await?;
        let replicas = cluster.watch(service).await?;
        let (addresses, follower) = follow(cluster.service(service).await?, &replicas);
        let load = match service {
            Service::Blog => {
                let config = BlogConfig { rate: common.rate.into(), ..BlogConfig::default() };
                let load = BlogPressure::start(config, addresses, database.clone()).await;
                Load::Blog(load.context("the load on blog-api")?)
            }
            Service::Booking => {
                let config = BookingConfig { strategy: common.strategy, ..BookingConfig::default() };
                let load = BookingPressure::start(config, addresses, database.clone()).await;
                Load::Booking(load.context("the load on booking-api")?)
            }
            Service::Shop | Service::ShopWorker => anyhow::bail!("there is no load on {} yet", service.program()),
        };
        Ok(Self { load, _replicas: replicas, _follower: follower })
    }

    pub(super) fn mark(&self, text: &str) {
        match &self.load {
            Load::Blog(load) => load.mark(text),
            Load::Booking(load) => load.mark(text),
        };
    }

    /// Ends the load, and judges.
    ///
    /// # Errors
    /// The load ended by itself, or the database does not answer.
    pub(super) async fn stop(self, database: &PgPool) -> anyhow::Result<(Service, Pressed)> {
        match self.load {
            Load::Blog(load) => Ok((Service::Blog, load.stop(database).await?)),
            Load::Booking(load) => Ok((Service::Booking, load.stop(database).await?)),
        }
    }
}

/// The replicas as the load knows them, as they change.
fn follow(service: std::net::SocketAddr, replicas: &Replicas) -> (Addresses, AbortOnDropHandle<()>) {
    let known = |replicas: &[cluster::Replica]| -> Arc<[Replica]> {
        let known = replicas.iter().map(|replica| Replica {
            name: replica.pod.clone(),
            address: replica.api,
            ready: replica.ready,
        });
        known.collect()
    };
    let (send, receive) = watch::channel(known(&replicas.now()));
    let mut changes = replicas.changes();
    let follower = tokio::spawn(async move {
        while changes.changed().await.is_ok() {
            send.send_replace(known(&changes.borrow_and_update()));
        }
    });
    (Addresses::new(Some(service), receive), AbortOnDropHandle::new(follower))
}
