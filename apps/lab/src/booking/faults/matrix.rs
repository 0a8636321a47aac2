//! What is broken under whom, and what must come of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::strategy::Strategy;

/// What is done to the system while a booking is in its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// SIGKILL of the holder's process
    HolderKilled,
    /// SIGSTOP of the holder's process, past its lease, until the others have sold out
    HolderStopped,
    /// SIGKILL of the locks' Redis, which comes back empty
    RedisKilled,
    /// The locks' Redis cut off: for the holder alone in one round, for everybody in the next
    RedisCut,
    /// The message that a waiter has the lock is lost: the one of the holder, and each 25th after it
    PushDropped,
    /// PostgreSQL crashes and is started again
    PostgresRestarted,
    /// The clock of the locks' Redis steps back by an hour, and the locks are forgotten
    ClockBack,
}

impl Fault {
    pub(super) const ALL: [Self; 7] = [
        Self::HolderKilled,
        Self::HolderStopped,
        Self::RedisKilled,
        Self::RedisCut,
        Self::PushDropped,
        Self::PostgresRestarted,
        Self::ClockBack,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::HolderKilled => "holder-killed",
            Self::HolderStopped => "holder-stopped",
            Self::RedisKilled => "redis-killed",
            Self::RedisCut => "redis-cut",
            Self::PushDropped => "push-dropped",
            Self::PostgresRestarted => "postgres-restarted",
            Self::ClockBack => "clock-back",
        }
    }

    /// How long the victim's payment takes. Shorter than the plain lease, so that a plain lock that fails has failed by
    /// the fault and not because its lease was too short from the start.
    pub(super) fn victim_work(self, strategy: Strategy) -> Duration {
        Duration::from_millis(match self {
            Self::HolderStopped => 1_500,
            _ if self.forgets(strategy) => 8_000,
            _ => 2_500,
        })
    }

    /// Whether a plain lock is forgotten while its holder goes on: the others must then have the time to sell out.
    fn forgets(self, strategy: Strategy) -> bool {
        strategy == Strategy::Redis && matches!(self, Self::RedisKilled | Self::ClockBack)
    }

    /// The times of a cell.
    pub(super) fn times(self, strategy: Strategy) -> Times {
        if self.forgets(strategy) { Times { plain_lease_ms: 9_000, ..TIMES } } else { TIMES }
    }
}

/// What a cell has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// Nothing is oversold, whatever happens.
    Safe,
    /// It is a control: unless it oversells by at least so many seats in all, its fault has shown nothing.
    Oversells(u64),
    /// It promises nothing here, and proves nothing.
    Anything,
}

/// Seats of the victim's booking: unlike the buyers' one seat, so that the surplus tells whose it is.
pub(super) const VICTIM_SEATS: u32 = 4;

/// What is to be seen in a cell.
///
/// # Errors
/// Why there is nothing to be seen: the fault cannot touch the strategy, not even by mistake.
pub(super) fn expected(fault: Fault, strategy: Strategy, rounds: u32) -> Result<Expected, &'static str> {
    match (fault, strategy) {
        (Fault::PushDropped, strategy) if strategy != Strategy::RedisFenced => {
            Err("only redis-fenced hands a lock over by a message")
        }
        (Fault::ClockBack, Strategy::Redlock) => Err(
            "redlock has servers of its own, whose clocks do not step together; one of them that forgets is redis-killed",
        ),
        (_, Strategy::None) => Ok(Expected::Oversells(1)),
        // Its lease has passed, and nothing tells it so.
        (Fault::HolderStopped, Strategy::Redis) => Ok(Expected::Oversells(u64::from(rounds * VICTIM_SEATS))),
        (_, Strategy::Redis | Strategy::Redlock) => Ok(Expected::Anything),
        _ => Ok(Expected::Safe),
    }
}

/// The strategies that must be seen failing before anything else is believed about a fault. For push-dropped there is
/// none: nobody else has pushes, and that they were lost is counted at the proxy.
pub(super) fn controls(fault: Fault) -> &'static [Strategy] {
    match fault {
        Fault::PushDropped => &[],
        Fault::HolderStopped => &[Strategy::None, Strategy::Redis],
        _ => &[Strategy::None],
    }
}

/// All strategies but the one that needs a cluster, which the lab cannot break from here.
pub(super) fn strategies_here() -> impl Iterator<Item = Strategy> {
    Strategy::ALL.into_iter().filter(|strategy| *strategy != Strategy::K8sLease)
}

/// The cells of a run, fault by fault. A fault that was asked for without any of its controls gets the first of them.
pub(super) fn cells(faults: &[Fault], strategies: &[Strategy]) -> Vec<(Fault, Strategy)> {
    let chosen = |fault: &Fault| faults.is_empty() || faults.contains(fault);
    let wanted = |strategy: &Strategy| strategies.is_empty() || strategies.contains(strategy);
    let mut cells = Vec::new();
    for fault in Fault::ALL.into_iter().filter(chosen) {
        let of: Vec<Strategy> = strategies_here().filter(wanted).collect();
        if let Some(control) = controls(fault).first()
            && !controls(fault).iter().any(|control| of.contains(control))
        {
            cells.push((fault, *control));
        }
        cells.extend(of.into_iter().map(|strategy| (fault, strategy)));
    }
    cells
}

/// Times of the locks, many times shorter than the defaults, so that a lease that runs out costs seconds. They keep the
/// library's inequalities, in which its command timeout is 500 ms.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Times {
    pub(super) lock_lease_ms: u64,
    pub(super) first_lease_ms: u64,
    pub(super) poll_ms: u64,
    pub(super) plain_lease_ms: u64,
    pub(super) deadline_ms: u64,
    /// Of redis-reserve: longer than the victim's payment, so that only the fault lets it pass.
    pub(super) reservation_ms: u64,
}

/// Of all cells but those that a plain lock is forgotten in.
pub(super) const TIMES: Times = Times {
    lock_lease_ms: 2_200,
    first_lease_ms: 1_600,
    poll_ms: 200,
    plain_lease_ms: 3_000,
    deadline_ms: 5_000,
    reservation_ms: 3_000,
};

impl Times {
    pub(super) fn environment(self) -> Vec<(&'static str, String)> {
        vec![
            ("LOCK_LEASE", format!("{}ms", self.lock_lease_ms)),
            ("LOCK_FIRST_LEASE", format!("{}ms", self.first_lease_ms)),
            ("LOCK_POLL", format!("{}ms", self.poll_ms)),
            ("PLAIN_LEASE", format!("{}ms", self.plain_lease_ms)),
            ("LOCK_DEADLINE", format!("{}ms", self.deadline_ms)),
            ("RESERVATION_TIMEOUT", format!("{}ms", self.reservation_ms)),
        ]
    }

    /// The longest that anything may stay locked once nobody works any more: a lease, the first lease of a waiter that
    /// is gone as well, a poll; and what a busy machine adds.
    pub(super) fn settled(self) -> Duration {
        let longest = self.lock_lease_ms.max(self.plain_lease_ms).max(self.reservation_ms);
        Duration::from_millis(longest + self.first_lease_ms + self.poll_ms + 2_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_never_runs_without_a_control() {
        let alone = cells(&[Fault::RedisKilled], &[Strategy::RedisFenced]);
        assert_eq!(alone, [(Fault::RedisKilled, Strategy::None), (Fault::RedisKilled, Strategy::RedisFenced)]);
        // Named by the user: the second control is one as well.
        let named = cells(&[Fault::HolderStopped], &[Strategy::RedisFenced, Strategy::Redis]);
        assert_eq!(named, [(Fault::HolderStopped, Strategy::Redis), (Fault::HolderStopped, Strategy::RedisFenced)]);
        assert_eq!(cells(&[], &[]).len(), 7 * 9);
    }

    #[test]
    fn the_controls_must_fail_and_the_safe_must_not() {
        assert_eq!(expected(Fault::HolderStopped, Strategy::Redis, 3), Ok(Expected::Oversells(12)));
        assert_eq!(expected(Fault::RedisKilled, Strategy::Redis, 3), Ok(Expected::Anything));
        for fault in Fault::ALL {
            assert_eq!(expected(fault, Strategy::RedisFenced, 3), Ok(Expected::Safe));
            for control in controls(fault) {
                assert!(matches!(expected(fault, *control, 1), Ok(Expected::Oversells(1..))), "{fault:?} {control:?}");
            }
        }
        assert!(expected(Fault::PushDropped, Strategy::PgRow, 3).is_err());
    }

    #[test]
    fn the_times_keep_the_inequalities_of_the_library() {
        let Times { lock_lease_ms: t, first_lease_ms: g, poll_ms: p, .. } = TIMES;
        let c = 500;
        assert!(p + 2 * c + g / 100 + 10 < g && 2 * (p + c) <= g && g / 3 + 2 * c < g && t / 3 + 2 * c < t && g <= t);
        assert!(t > 4 * c, "the locks of PostgreSQL");
        for (fault, strategy) in cells(&[], &[]) {
            let lease = Duration::from_millis(fault.times(strategy).plain_lease_ms);
            assert!(fault.victim_work(strategy) < lease, "{fault:?} {strategy:?}");
        }
    }
}
