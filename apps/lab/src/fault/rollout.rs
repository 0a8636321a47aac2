//! `rollout`: every replica is replaced, by the Deployment's own rules.

use std::time::Instant;

use anyhow::ensure;

use super::scene::{SETTLED, Scene};

pub(super) async fn act(scene: &Scene<'_>) -> anyhow::Result<()> {
    for &service in scene.services {
        let before = scene.cluster.settled(service, SETTLED).await?;
        let active = scene.breaks(service.program());
        let begun = Instant::now();
        scene.cluster.restart(service).await?;
        let after = scene.cluster.settled(service, SETTLED).await?;
        drop(active);
        let kept = after.uids().into_iter().filter(|uid| before.uids().contains(uid)).count();
        ensure!(kept == 0, "{kept} replicas of {} are the ones of before", service.program());
        ensure!(after.replicas.len() == before.replicas.len(), "{} has another number of replicas", service.program());
        scene.saw(format!(
            "all {} replicas of {} replaced in {:.1} s: no uid of before is left",
            after.replicas.len(),
            service.program(),
            begun.elapsed().as_secs_f64()
        ));
    }
    Ok(())
}
