//! Where requests go: an address in front of all replicas, and the replicas as they come and go.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

/// One replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replica {
    /// Of its pod, or whatever else tells it from the others.
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// Whether clients are to be sent to it.
    pub(crate) ready: bool,
}

/// The replicas of one service, as they are now.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    service: Option<SocketAddr>,
    replicas: watch::Receiver<Arc<[Replica]>>,
}

/// Which way requests take.
#[cfg_attr(not(test), expect(dead_code, reason = "no fault sends past the service's address yet"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// To the service's address, or in turns to the ready replicas where there is none.
    Service,
    /// In turns to the ready replicas.
    Replicas,
}

impl Addresses {
    /// `service` is the one address of all of them (in a cluster, that of the Service).
    pub(crate) fn new(service: Option<SocketAddr>, replicas: watch::Receiver<Arc<[Replica]>>) -> Self {
        Self { service, replicas }
    }

    /// Where the service's own address is, if it has one.
    pub(crate) fn service(&self) -> Option<SocketAddr> {
        self.service
    }

    /// All replicas that are ready now.
    pub(crate) fn ready(&self) -> Vec<Replica> {
        self.replicas.borrow().iter().filter(|replica| replica.ready).cloned().collect()
    }

    /// To be told of changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<[Replica]>> {
        self.replicas.clone()
    }

    /// Where the `turn`th connection goes; `None` when no replica is ready.
    pub(crate) fn pick(&self, route: Route, turn: usize) -> Option<SocketAddr> {
        match (route, self.service) {
            (Route::Service, Some(service)) => Some(service),
            _ => {
                let replicas = self.replicas.borrow();
                let mut ready = replicas.iter().filter(|replica| replica.ready);
                let count = ready.clone().count();
                if count == 0 { None } else { ready.nth(turn % count).map(|replica| replica.address) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Addresses, Replica, Route};
    use std::net::SocketAddr;
    use tokio::sync::watch;

    fn replica(port: u16, ready: bool) -> Replica {
        Replica { name: format!("r{port}"), address: SocketAddr::from(([127, 0, 0, 1], port)), ready }
    }

    #[test]
    fn connections_are_dealt_to_those_that_are_ready() {
        let (sender, receiver) = watch::channel([replica(1, true), replica(2, false), replica(3, true)].into());
        let addresses = Addresses::new(None, receiver.clone());
        let ports =
            |route| -> Vec<u16> { (0..3).filter_map(|turn| addresses.pick(route, turn).map(|to| to.port())).collect() };
        assert_eq!((ports(Route::Service), ports(Route::Replicas)), (vec![1, 3, 1], vec![1, 3, 1]));
        sender.send_replace([replica(2, true)].into());
        assert_eq!(ports(Route::Replicas), [2, 2, 2]);
        assert_eq!(addresses.ready().len(), 1);
        sender.send_replace([replica(2, false)].into());
        assert_eq!(addresses.pick(Route::Service, 0), None);
        let service = SocketAddr::from(([10, 0, 0, 1], 80));
        assert_eq!(Addresses::new(Some(service), receiver).pick(Route::Service, 5), Some(service));
    }
}
