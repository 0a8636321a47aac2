//! `lab fault`: something in the cluster is broken while clients press; it is proved that it broke; and what the clients
//! saw is judged.
//!
//! Every fault runs the same way: the load begins; the act breaks something and sees that it is broken; everything is
//! put back, also after Ctrl-C; the load goes on for a while and ends; and the lab's own look at the database is held
//! against what the clients were told.

mod active;
mod args;
mod mends;
mod node_drain;
mod node_loss;
mod pause;
mod pod_kill;
mod press;
mod report;
mod rollout;
mod scale;
mod scene;
mod store_restart;

use std::time::Instant;

use sqlx::PgPool;

use crate::booking::faults::look::Sight;
use crate::cluster::Cluster;
use crate::exit::Ending;
use crate::fleet::Service;
use crate::measure::files::Files;
use crate::measure::postgres::pool;
use crate::screen::say;
use crate::signals::until_signal;
use crate::verdict::Verdict;
pub(crate) use args::FaultCommand;
pub(crate) use mends::{Mend, Mends};
use press::Press;
use report::Report;
use scene::Scene;
use store_restart::Urls;

/// Runs until the end or a signal, and mends in both cases.
///
/// # Errors
/// The fault was not to be seen, or something that is needed could not be had; or something is still broken. What clients
/// should not have seen is in the verdict.
pub(crate) async fn run(command: FaultCommand) -> anyhow::Result<Ending> {
    command.check()?;
    let common = command.common();
    let urls = common.urls()?;
    if let Some(listen) = common.metrics_listen {
        active::serve(listen)?;
    }
    let cluster = Cluster::connect(&common.cluster).await?;
    let mends = Mends::default();
    let outcome = until_signal(async { Ok(break_and_judge(&command, &cluster, &mends, &urls).await?.report()) }).await;
    match mends.mend(&cluster).await {
        Ok(()) => outcome,
        // Each line was said already.
        Err(left) => outcome.and_then(|_| anyhow::bail!("{} things are still broken", left.len())),
    }
}

async fn break_and_judge(
    command: &FaultCommand,
    cluster: &Cluster,
    mends: &Mends,
    urls: &Urls,
) -> anyhow::Result<Verdict> {
    let files = Files::of(command.file_name(), &command.common().files)?;
    let database = pool(&urls.database, 4).await?;
    let mut report = Report::new(command);
    say(&report.heading());
    if let FaultCommand::Pause(args) = command {
        let services = [Service::Booking];
        let scene = Scene::new(cluster, mends, &services, command.name(), Instant::now());
        let sight = Sight { locks: urls.lock.clone(), redlock: args.redlock(), database: database.clone() };
        for strategy in args.rounds() {
            report.paused.push(pause::round(&scene, &sight, strategy).await?);
        }
        report.evidence = scene.evidence();
    } else {
        under_pressure(command, cluster, mends, urls, &database, &mut report).await?;
    }
    database.close().await;
    report.finish();
    let text = report.text();
    say(&text);
    files.write(&report.started_at, &report, &text, &report.picture())?;
    Ok(Verdict { broken: report.broken })
}

async fn under_pressure(
    command: &FaultCommand,
    cluster: &Cluster,
    mends: &Mends,
    urls: &Urls,
    database: &PgPool,
    report: &mut Report,
) -> anyhow::Result<()> {
    let common = command.common();
    let services = common.services();
    let mut presses = Vec::new();
    for &service in &services {
        presses.push(Press::start(cluster, service, common, database).await?);
    }
    let scene = Scene::new(cluster, mends, &services, command.name(), Instant::now());
    tokio::time::sleep(common.before).await;
    presses.iter().for_each(|press| press.mark("fault"));
    act(command, &scene, urls).await?;
    mends.mend(cluster).await.map_err(|lines| anyhow::anyhow!(lines.join("; ")))?;
    for &service in &services {
        cluster.settled(service, scene::SETTLED).await?;
    }
    presses.iter().for_each(|press| press.mark("after"));
    tokio::time::sleep(common.after).await;
    let allowed = scene.allowed();
    report.evidence = scene.evidence();
    for press in presses {
        let (service, pressed) = press.stop(database).await?;
        report.pressed(service, pressed, allowed.of(service));
    }
    Ok(())
}

async fn act(command: &FaultCommand, scene: &Scene<'_>, urls: &Urls) -> anyhow::Result<()> {
    match command {
        FaultCommand::PodKill(_) => pod_kill::act(scene).await,
        FaultCommand::Rollout(_) => rollout::act(scene).await,
        FaultCommand::Scale(args) => scale::act(scene, &args.steps).await,
        FaultCommand::NodeDrain(args) => node_drain::act(scene, args.node.as_deref()).await,
        FaultCommand::NodeLoss(args) => node_loss::act(scene, args.node.as_deref(), args.within).await,
        FaultCommand::StoreRestart(args) => store_restart::act(scene, args.store, urls, args.grace).await,
        FaultCommand::Pause(_) => Ok(()),
    }
}
