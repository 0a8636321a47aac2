//! `node-loss`: a node vanishes. The lab cannot do that from a pod: it waits for somebody who does, and judges.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::scene::{SETTLED, Scene};
use crate::fleet::Service;
use crate::screen::say;

/// How long the other nodes may take, after the lost one is back, until no new connection is led astray: that a replica is not ready they
/// learn from the API server, and the way to the node they make anew. 7 s were seen.
const FORGOTTEN: Duration = Duration::from_secs(15);
/// Between two looks at the nodes.
const LOOK: Duration = Duration::from_millis(500);

/// `within`: how long a node may take to vanish, and to come back.
pub(super) async fn act(scene: &Scene<'_>, node: Option<&str>, within: Duration) -> anyhow::Result<()> {
    let mut ready = Vec::new();
    for node in scene.cluster.nodes().await?.into_iter().filter(|state| state.ready) {
        let stores = scene.cluster.pods_on(&node.name).await?.into_iter().any(|(_, kept)| kept);
        ready.push((node.name, stores));
    }
    let named = node.is_none_or(|node| ready.iter().any(|(name, _)| name == node));
    ensure!(named, "there is no ready node {}", node.unwrap_or_default());
    let candidates: Vec<_> = ready.iter().filter(|(_, stores)| !stores).map(|(name, _)| name.as_str()).collect();
    say(&format!(
        "ready for the loss of {}: docker kill NODE",
        node.map_or_else(|| candidates.join(" or "), str::to_owned)
    ));
    let mut before = Vec::new();
    for &service in scene.services {
        before.push((service, scene.cluster.wanted(service).await?));
    }
    let begun = Instant::now();
    let lost = loop {
        let nodes = scene.cluster.nodes().await?;
        let gone = |name: &str| nodes.iter().all(|state| state.name != name || !state.ready);
        if let Some((name, stores)) = ready.iter().find(|(name, _)| node.is_none_or(|node| node == name) && gone(name))
        {
            ensure!(!stores, "{name} has a store on it, whose volume does not move");
            break name.clone();
        }
        ensure!(begun.elapsed() < within, "no node was lost within {} s", within.as_secs());
        tokio::time::sleep(LOOK).await;
    };
    let active = scene.breaks(&lost);
    scene.saw(format!("{lost} is not ready any more: its kubelet has not reported for too long"));
    let noticed = Instant::now();
    let mut dead = Vec::new();
    for &(service, wanted) in &before {
        let replicas = scene.cluster.replicas(service).await?;
        dead.push((service, replicas.into_iter().filter(|r| r.node == lost).map(|r| r.api).collect::<Vec<_>>()));
        elsewhere(scene, service, &lost, wanted).await?;
    }
    scene.saw(format!("all replicas are ready on other nodes, {:.1} s after that", noticed.elapsed().as_secs_f64()));
    loop {
        if scene.cluster.nodes().await?.iter().any(|state| state.name == lost && state.ready) {
            break;
        }
        ensure!(
            noticed.elapsed() < within,
            "{lost} did not come back within {} s: docker start {lost}",
            within.as_secs()
        );
        tokio::time::sleep(LOOK).await;
    }
    scene.saw(format!("{lost} is back"));
    for &service in scene.services {
        scene.cluster.settled(service, SETTLED).await.context("after the node came back")?;
    }
    // When it fell silent is not known here: some time before the control plane noticed. Until then each new connection may be led to
    // it, so a request may meet it each time that it is sent. And a node that comes back is not heard at once by all others.
    for (service, addresses) in &dead {
        let until = Instant::now() + FORGOTTEN;
        scene.allow(*service, |allowed| allowed.falling_silent(addresses, begun, until).giving_up());
    }
    drop(active);
    Ok(())
}

/// Waits until so many replicas are ready on other nodes. Those of the lost one stay announced, as not ready, until it is back.
async fn elsewhere(scene: &Scene<'_>, service: Service, lost: &str, wanted: u16) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETTLED;
    loop {
        let replicas = scene.cluster.replicas(service).await?;
        let ready = replicas.iter().filter(|replica| replica.ready && replica.node != lost).count();
        if ready >= usize::from(wanted) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{} has {ready} ready replicas outside of {lost}", service.program());
        tokio::time::sleep(LOOK).await;
    }
}
