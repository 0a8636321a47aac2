//! The blog: its rows, and the experiments on it.

pub(crate) mod performance;

use crate::cli::{BlogCommand, SeedArgs};
use crate::data::DataDir;
use crate::exit::Ending;
use crate::screen::{grouped, say};
use crate::seed::{self, Seeded};

pub(crate) async fn run(command: BlogCommand) -> anyhow::Result<Ending> {
    match command {
        BlogCommand::Seed(args) => seed(args).await,
        BlogCommand::Performance(command) => {
            let verdict = performance::run(command.performance, command.targets.resolve().await?).await?;
            Ok(verdict.report())
        }
    }
}

async fn seed(args: SeedArgs) -> anyhow::Result<Ending> {
    let database_url = match args.database_url {
        Some(url) => url,
        None => DataDir::locate(args.data)?.running()?.database_url,
    };
    let plan = seed::Plan {
        database_url,
        items: args.posts,
        streams: args.streams.unwrap_or_else(seed::default_streams),
        replace: false,
    };
    let posts = grouped(args.posts);
    match seed::blog::seed(&plan).await? {
        Seeded::Before => say(&format!("{posts} posts are there already")),
        Seeded::Now => say(&format!("{posts} posts are there, verified")),
    }
    Ok(Ending::Held)
}
