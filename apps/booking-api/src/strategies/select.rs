//! Each event's own strategy.

use tokio::time::Instant;

use super::conditional::Conditional;
use super::locked::Locked;
use super::locks::Missing;
use super::reserve::Reserve;
use super::units::Units;
use super::{Cancel, Cancellation, Order, Outcome, Refusal};
use crate::domain::Strategy;
use crate::metrics;

/// All strategies of this replica.
#[derive(Clone, Debug)]
pub struct Strategies {
    /// Those that are a lock.
    pub locked: Locked,
    /// `pg-conditional`
    pub conditional: Conditional,
    /// `pg-units`
    pub units: Units,
    /// `redis-reserve`
    pub reserve: Reserve,
}

impl Strategies {
    /// Says what this replica lacks for events of this strategy, if it does.
    ///
    /// # Errors
    /// What is missing.
    pub async fn has(&self, strategy: Strategy) -> Result<(), Missing> {
        match strategy {
            Strategy::PgConditional | Strategy::PgUnits | Strategy::RedisReserve => Ok(()),
            strategy => self.locked.locks().of(strategy).await.map(|_| ()),
        }
    }

    /// Books.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn book(&self, order: &Order) -> Result<Outcome, Refusal> {
        let began = Instant::now();
        let strategy = order.event.strategy;
        let ended = match strategy {
            Strategy::PgConditional => self.conditional.book(order).await,
            Strategy::PgUnits => self.units.book(order).await,
            Strategy::RedisReserve => self.reserve.book(order).await,
            _ => self.locked.book(order).await,
        };
        metrics::took(strategy, began.elapsed());
        metrics::ended(
            strategy,
            match &ended {
                Ok(Outcome::Booked(_)) => "booked",
                Ok(Outcome::Replayed(_)) => "replayed",
                Ok(Outcome::KeyReused) => "key_reused",
                Ok(Outcome::SoldOut { .. }) => "sold_out",
                Err(refusal) => refusal.outcome(),
            },
        );
        ended
    }

    /// Cancels.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn cancel(&self, cancel: &Cancel) -> Result<Cancellation, Refusal> {
        let strategy = cancel.event.strategy;
        let ended = match strategy {
            Strategy::PgConditional => self.conditional.cancel(cancel).await,
            Strategy::PgUnits => self.units.cancel(cancel).await,
            Strategy::RedisReserve => self.reserve.cancel(cancel).await,
            _ => self.locked.cancel(cancel).await,
        };
        match &ended {
            Ok(Cancellation::Cancelled { .. }) => metrics::ended(strategy, "cancelled"),
            Ok(Cancellation::Already | Cancellation::Mismatch(_)) => {}
            Err(refusal) => metrics::ended(strategy, refusal.outcome()),
        }
        ended
    }

    /// Gives back every lock and reservation; comes before the pools close.
    pub async fn close(&self) {
        tokio::join!(self.locked.locks().close(), self.reserve.close());
    }
}

impl Refusal {
    /// The label of a metric.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::Lost => "lost",
            Self::Unavailable { .. } | Self::RolledBack => "unavailable",
            Self::InDoubt(_) => "in_doubt",
            Self::Database(error) if service::postgres::is_unavailable(error) => "unavailable",
            Self::Database(_) | Self::NoSuchEvent => "error",
        }
    }
}
