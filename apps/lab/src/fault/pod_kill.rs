//! `pod-kill`: a replica's process is killed, and its pod deleted, without a moment to say goodbye.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::net::TcpStream;

use super::scene::{SETTLED, Scene, short};
use crate::cluster::Replica;
use crate::fleet::Service;
use crate::measure::zipf::Random;

/// How long a killed process may still be connected to.
const DEAD: Duration = Duration::from_secs(3);
/// How long a pod that is deleted without grace may still be there.
const GONE: Duration = Duration::from_secs(30);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long the nodes may take to learn that the address of a pod that is gone leads nowhere.
const FORGOTTEN: Duration = Duration::from_secs(3);

pub(super) async fn act(scene: &Scene<'_>) -> anyhow::Result<()> {
    for &service in scene.services {
        let before = scene.cluster.settled(service, SETTLED).await?;
        ensure!(before.replicas.len() > 1, "{} has one replica: nobody is left to serve", service.program());
        let victim = choose(&before.replicas)?;
        let active = scene.breaks(service.program());
        let killed = Instant::now();
        // The command dies with the container that it runs in, so what becomes of it says nothing.
        let said = scene.cluster.signal(&victim.pod, service, "KILL").await;
        let dead = refuses(victim).await.with_context(|| match said {
            Ok(said) => format!("SIGKILL to {}: {}", victim.pod, said.trim()),
            Err(error) => format!("SIGKILL to {}: {error:#}", victim.pod),
        })?;
        scene.cluster.delete_pod(&victim.pod, &victim.uid, Some(0)).await?;
        scene.cluster.gone(&victim.pod, &victim.uid, GONE).await?;
        scene.allow(service, |allowed| allowed.dying(&[victim.api], killed, Instant::now() + FORGOTTEN));
        scene.saw(format!(
            "{} (uid ..{}, on {}) killed: it refused connections {} ms later, and its pod is gone",
            victim.pod,
            short(&victim.uid),
            victim.node,
            (dead - killed).as_millis()
        ));
        let new = successor(scene, service, &before.uids()).await?;
        drop(active);
        scene.saw(format!(
            "{} replaced by {} (uid ..{}, on {}), ready {:.1} s after the kill",
            victim.pod,
            new.pod,
            short(&new.uid),
            new.node,
            killed.elapsed().as_secs_f64()
        ));
    }
    Ok(())
}

/// Waits for a replica that was not there before. The slices may tell of the one that is gone for a while.
async fn successor(scene: &Scene<'_>, service: Service, before: &[&str]) -> anyhow::Result<Replica> {
    let deadline = Instant::now() + SETTLED;
    loop {
        let replicas = scene.cluster.settled(service, SETTLED).await?.replicas;
        if let Some(new) = replicas.into_iter().find(|replica| !before.contains(&replica.uid.as_str())) {
            return Ok(new);
        }
        ensure!(Instant::now() < deadline, "no new replica of {} is to be seen", service.program());
        tokio::time::sleep(LOOK).await;
    }
}

fn choose(replicas: &[Replica]) -> anyhow::Result<&Replica> {
    let mut seed = [0_u8; 8];
    getrandom::fill(&mut seed).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    let at = Random::new(u64::from_le_bytes(seed)).below(replicas.len());
    Ok(&replicas[at])
}

/// Waits until nobody listens any more where the replica did.
async fn refuses(replica: &Replica) -> anyhow::Result<Instant> {
    let deadline = Instant::now() + DEAD;
    loop {
        let connected = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(replica.api)).await;
        if !matches!(connected, Ok(Ok(_))) {
            return Ok(Instant::now());
        }
        ensure!(Instant::now() < deadline, "{} still takes connections {DEAD:?} later", replica.pod);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
