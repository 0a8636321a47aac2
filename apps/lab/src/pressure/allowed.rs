//! What a fault excuses.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::failure::{Failure, Kind, Method};

/// How long a reader of one replica may take to learn that it is to leave it alone.
const LEARNING: Duration = Duration::from_secs(1);

/// What may go wrong while a fault lasts. All that it does not name is a broken invariant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowed {
    excuses: Vec<Excuse>,
    pub(crate) giving_up: bool,
    pub(crate) disturbed: bool,
    pub(crate) longest_gap: Option<Duration>,
}

/// Which requests.
#[cfg_attr(not(test), expect(dead_code, reason = "no fault excuses only some of them yet"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Methods {
    Reads,
    Writes,
    All,
}

impl Methods {
    fn has(self, method: Method) -> bool {
        match self {
            Self::Reads => method.reads(),
            Self::Writes => !method.reads(),
            Self::All => true,
        }
    }
}

#[derive(Debug, Clone)]
struct Excuse {
    from: Instant,
    until: Instant,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Dead { addresses: Vec<SocketAddr>, silently: bool },
    Unavailable(Methods),
}

impl Allowed {
    /// Not one try may fail: for all that happens in order, such as a rolling update.
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    /// Replicas died at `from`, and from `gone` on no new connection is led to them. Requests may fail without an answer
    /// that were under way on a connection to them, or that were opening one, in that time.
    ///
    /// Behind the address of a service it cannot be seen which replica a connection leads to; there the time alone decides.
    #[must_use]
    pub(crate) fn dying(self, addresses: &[SocketAddr], from: Instant, gone: Instant) -> Self {
        self.dead(addresses, from, gone, false)
    }

    /// As [`Self::dying`], for replicas that nobody can hear any more and that close nothing: a lost node, a paused
    /// process. There a connection that was opened before `gone` fails whenever it is used for the next time.
    #[must_use]
    pub(crate) fn falling_silent(self, addresses: &[SocketAddr], from: Instant, gone: Instant) -> Self {
        self.dead(addresses, from, gone, true)
    }

    fn dead(mut self, addresses: &[SocketAddr], from: Instant, until: Instant, silently: bool) -> Self {
        let what = What::Dead { addresses: addresses.to_vec(), silently };
        self.excuses.push(Excuse { from, until, what });
        self
    }

    /// Between those moments such requests may be answered 5xx, or not in time: a store is away.
    #[must_use]
    pub(crate) fn unavailable(mut self, methods: Methods, from: Instant, until: Instant) -> Self {
        self.excuses.push(Excuse { from, until, what: What::Unavailable(methods) });
        self
    }

    /// Requests may be given up at their deadline: the fault lasts longer than that.
    #[must_use]
    pub(crate) fn giving_up(mut self) -> Self {
        self.giving_up = true;
        self
    }

    /// A process was paused or a store forgot something, which some strategies of booking do not promise to survive.
    #[must_use]
    pub(crate) fn disturbed(mut self) -> Self {
        self.disturbed = true;
        self
    }

    /// At no time may nobody get a good answer for longer than this.
    #[cfg_attr(not(test), expect(dead_code, reason = "no fault bounds it yet"))]
    #[must_use]
    pub(crate) fn longest_gap(mut self, gap: Duration) -> Self {
        self.longest_gap = Some(gap);
        self
    }

    /// Whether this failed try is excused. `service` is the address in front of all replicas.
    pub(crate) fn excuses(&self, failure: &Failure, service: Option<SocketAddr>) -> bool {
        self.excuses.iter().any(|excuse| excuse.holds_for(failure, service))
    }
}

impl Excuse {
    fn holds_for(&self, failure: &Failure, service: Option<SocketAddr>) -> bool {
        let Self { from, until, what } = self;
        match what {
            What::Dead { addresses, silently } => {
                let Some(address) = failure.address.filter(|_| failure.unanswered()) else { return false };
                let named = addresses.contains(&address);
                if !named && (failure.direct || service != Some(address)) {
                    return false;
                }
                let late = if failure.direct { LEARNING } else { Duration::ZERO };
                let begun = if *silently { failure.connected } else { failure.began };
                failure.ended >= *from && begun < *until + late
            }
            What::Unavailable(methods) => {
                let kind = match failure.kind {
                    Kind::Status => failure.status.is_some_and(|status| status >= 500),
                    kind => kind == Kind::Late,
                };
                kind && methods.has(failure.method) && failure.ended >= *from && failure.began < *until
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Allowed, Methods};
    use crate::pressure::failure::{Failure, Kind, Method};
    use std::net::SocketAddr;
    use std::time::{Duration, Instant};

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    const SERVICE: u16 = 80;

    struct Scene {
        zero: Instant,
    }

    impl Scene {
        fn s(&self, seconds: u64) -> Instant {
            self.zero + Duration::from_secs(seconds)
        }

        /// On a connection of that moment, from then to then.
        fn failure(&self, kind: Kind, port: u16, [connected, began, ended]: [u64; 3]) -> Failure {
            Failure {
                kind,
                status: None,
                method: Method::Get,
                address: Some(at(port)),
                direct: false,
                earlier: 0,
                connected: self.s(connected),
                began: self.s(began),
                ended: self.s(ended),
                detail: String::new(),
            }
        }
    }

    fn excuses(allowed: &Allowed, failure: &Failure) -> bool {
        allowed.excuses(failure, Some(at(SERVICE)))
    }

    #[test]
    fn a_death_excuses_what_was_under_way_and_what_connected_before_it_was_known() {
        let scene = Scene { zero: Instant::now() };
        let allowed = Allowed::nothing().dying(&[at(7)], scene.s(10), scene.s(15));
        for (kind, port, times, excused) in [
            (Kind::Closed, SERVICE, [5, 9, 10], true),
            (Kind::Connect, SERVICE, [14, 14, 16], true),
            (Kind::Late, SERVICE, [5, 12, 17], true),
            (Kind::Broken, 7, [5, 11, 11], true),
            // Before it, after it, elsewhere, or an answer: not its doing.
            (Kind::Closed, SERVICE, [5, 8, 9], false),
            (Kind::Connect, SERVICE, [15, 15, 15], false),
            (Kind::Broken, SERVICE, [5, 16, 16], false),
            (Kind::Broken, 8, [5, 11, 11], false),
            (Kind::Status, SERVICE, [5, 11, 11], false),
            (Kind::Malformed, SERVICE, [5, 11, 11], false),
        ] {
            let failure = scene.failure(kind, port, times);
            assert_eq!(excuses(&allowed, &failure), excused, "{failure:?}");
            assert!(!excuses(&Allowed::nothing(), &failure));
        }
    }

    #[test]
    fn a_replica_that_is_read_directly_is_only_excused_by_its_own_death() {
        let scene = Scene { zero: Instant::now() };
        let allowed = Allowed::nothing().dying(&[at(7)], scene.s(10), scene.s(15));
        let direct = |port, times| Failure { direct: true, ..scene.failure(Kind::Broken, port, times) };
        assert!(excuses(&allowed, &direct(7, [5, 11, 11])));
        assert!(excuses(&allowed, &direct(7, [5, 15, 15])), "its reader learns of it a little later");
        assert!(!excuses(&allowed, &direct(7, [5, 16, 16])));
        assert!(!excuses(&allowed, &direct(8, [5, 11, 11])));
    }

    #[test]
    fn silence_is_noticed_when_a_connection_is_used_for_the_next_time() {
        let scene = Scene { zero: Instant::now() };
        let late = scene.failure(Kind::Late, SERVICE, [14, 20, 25]);
        assert!(excuses(&Allowed::nothing().falling_silent(&[at(7)], scene.s(10), scene.s(15)), &late));
        assert!(!excuses(&Allowed::nothing().dying(&[at(7)], scene.s(10), scene.s(15)), &late));
        let opened_after = scene.failure(Kind::Late, SERVICE, [16, 20, 25]);
        assert!(!excuses(&Allowed::nothing().falling_silent(&[at(7)], scene.s(10), scene.s(15)), &opened_after));
    }

    #[test]
    fn a_store_that_is_away_excuses_errors_of_some_requests_for_some_time() {
        let scene = Scene { zero: Instant::now() };
        let allowed = Allowed::nothing().unavailable(Methods::Writes, scene.s(10), scene.s(15));
        let status = |method, status, times| Failure {
            method,
            status: Some(status),
            ..scene.failure(Kind::Status, SERVICE, times)
        };
        assert!(excuses(&allowed, &status(Method::Put, 503, [5, 11, 11])));
        assert!(!excuses(&allowed, &status(Method::Get, 503, [5, 11, 11])));
        assert!(!excuses(&allowed, &status(Method::Put, 404, [5, 11, 11])));
        assert!(!excuses(&allowed, &status(Method::Put, 503, [5, 15, 15])));
        let reads = Allowed::nothing().unavailable(Methods::Reads, scene.s(10), scene.s(15));
        assert!(excuses(&reads, &status(Method::Get, 503, [5, 11, 11])));
        assert!(!excuses(&reads, &status(Method::Put, 503, [5, 11, 11])));
        let broken = Failure { method: Method::Put, ..scene.failure(Kind::Broken, SERVICE, [5, 11, 11]) };
        assert!(!excuses(&allowed, &broken), "the replicas are there");
    }
}
