//! The booking: how its experiments drive it, and how they judge it.
//!
//! [`buyers`] book over HTTP and keep a [`ledger`] of what they were answered; [`judge`] compares that with the rows of
//! the database, by SQL of the lab's own.

pub(crate) mod api;
pub(crate) mod buyers;
pub(crate) mod concurrent;
pub(crate) mod contention;
pub(crate) mod faults;
pub(crate) mod judge;
pub(crate) mod ledger;
pub(crate) mod strategy;
pub(crate) mod system;

use crate::cli::BookingCommand;
use crate::exit::Ending;
use crate::signals::until_signal;

/// Runs until the end or a signal; what has to be put back is put back in both cases.
pub(crate) async fn run(command: BookingCommand) -> anyhow::Result<Ending> {
    match command {
        BookingCommand::Concurrent(command) => {
            until_signal(async {
                Ok(concurrent::run(command.concurrent, command.targets.resolve().await?).await?.report())
            })
            .await
        }
        BookingCommand::Contention(command) => {
            contention::until_signal(command.contention, command.stores.resolve()?).await
        }
        BookingCommand::Faults(args) => until_signal(async { Ok(faults::run(args).await?.report()) }).await,
    }
}
