//! `scale`: more replicas, then fewer.

use std::time::{Duration, Instant};

use super::mends::Mend;
use super::scene::{SETTLED, Scene};

/// How long each number of replicas is kept.
const KEPT: Duration = Duration::from_secs(3);

pub(super) async fn act(scene: &Scene<'_>, steps: &[u16]) -> anyhow::Result<()> {
    for &service in scene.services {
        let before = scene.cluster.wanted(service).await?;
        scene.mends.promise(Mend::Scale(service, before));
    }
    for &step in steps {
        for &service in scene.services {
            let before = scene.cluster.replicas(service).await?.len();
            let _active = scene.breaks(service.program());
            let begun = Instant::now();
            scene.cluster.scale(service, step).await?;
            let after = scene.cluster.settled(service, SETTLED).await?;
            scene.saw(format!(
                "{} scaled from {before} to {} replicas in {:.1} s, all of them announced",
                service.program(),
                after.replicas.len(),
                begun.elapsed().as_secs_f64()
            ));
        }
        tokio::time::sleep(KEPT).await;
    }
    Ok(())
}
