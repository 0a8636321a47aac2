//! `node-drain`: a node takes no more pods, and its replicas are asked to leave, as `kubectl drain` asks.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::mends::Mend;
use super::scene::{SETTLED, Scene};

/// How long the replicas of the node may take to be gone; each may drain for as long as its grace allows.
const LEFT: Duration = Duration::from_secs(120);
/// Before a pod is asked again that its disruption budget holds back.
const AGAIN: Duration = Duration::from_millis(500);

/// `node`: which one, or else the one with the most replicas.
pub(super) async fn act(scene: &Scene<'_>, node: Option<&str>) -> anyhow::Result<()> {
    let node = choose(scene, node).await?;
    let begun = Instant::now();
    scene.mends.promise(Mend::Uncordon(node.clone()));
    let _active = scene.breaks(&node);
    scene.cluster.cordon(&node, true).await?;
    let mut asked = 0;
    for &service in scene.services {
        let replicas = scene.cluster.replicas(service).await?;
        for replica in replicas.iter().filter(|replica| replica.node == node) {
            while !scene.cluster.evict(&replica.pod).await? {
                ensure!(begun.elapsed() < LEFT, "the disruption budget does not let {} go", replica.pod);
                tokio::time::sleep(AGAIN).await;
            }
            asked += 1;
        }
    }
    ensure!(asked > 0, "no replica was on {node}");
    for &service in scene.services {
        let settled = scene.cluster.settled(service, SETTLED).await?;
        let left = settled.replicas.iter().filter(|replica| replica.node == node).count();
        ensure!(left == 0, "{left} replicas of {} are on {node}, which takes none", service.program());
    }
    scene.saw(format!(
        "{node} drained: its {asked} replicas are ready elsewhere, {:.1} s later",
        begun.elapsed().as_secs_f64()
    ));
    Ok(())
}

async fn choose(scene: &Scene<'_>, wanted: Option<&str>) -> anyhow::Result<String> {
    let nodes = scene.cluster.nodes().await?;
    if let Some(wanted) = wanted {
        let node =
            nodes.iter().find(|node| node.name == wanted).with_context(|| format!("there is no node {wanted}"))?;
        ensure!(node.ready && !node.cordoned, "{wanted} is not ready, or takes no pods already");
        return Ok(wanted.to_owned());
    }
    let mut replicas = Vec::new();
    for &service in scene.services {
        replicas.extend(scene.cluster.replicas(service).await?);
    }
    nodes
        .iter()
        .filter(|node| node.ready && !node.cordoned)
        .map(|node| (replicas.iter().filter(|replica| replica.node == node.name).count(), &node.name))
        .filter(|(count, _)| *count > 0)
        .max()
        .map(|(_, name)| name.clone())
        .context("no node that is ready has a replica")
}
