//! Running a command in a container that runs already.

use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use tokio::io::AsyncReadExt as _;

use super::{Cluster, call};

/// How long a command may take: none of them waits for anything.
const COMMAND: Duration = Duration::from_secs(10);

impl Cluster {
    /// Runs a command in a pod's container and returns what it wrote, both streams together.
    ///
    /// # Errors
    /// The API server refuses, the command cannot be started, or it fails; then with what it wrote.
    pub(crate) async fn exec(&self, pod: &str, container: &str, command: &[&str]) -> anyhow::Result<String> {
        let what = format!("`{}` in {pod}", command.join(" "));
        let params = AttachParams::default().container(container).stdin(false).stdout(true).stderr(true);
        let pods = self.all::<Pod>();
        let mut process = call(&what, pods.exec(pod, command.iter().copied(), &params)).await?;
        let (mut out, mut err) = (process.stdout().context("no stdout")?, process.stderr().context("no stderr")?);
        let status = process.take_status().context("no status")?;
        let (mut said, mut complained) = (String::new(), String::new());
        let all = async {
            tokio::try_join!(out.read_to_string(&mut said), err.read_to_string(&mut complained))?;
            anyhow::Ok(status.await)
        };
        let status = tokio::time::timeout(COMMAND, all)
            .await
            .with_context(|| format!("{what} does not end within {COMMAND:?}"))?
            .with_context(|| what.clone())?;
        said.push_str(&complained);
        match status {
            Some(status) if status.status.as_deref() == Some("Success") => Ok(said),
            Some(status) => bail!("{what}: {}: {}", said.trim(), status.message.unwrap_or_default()),
            None => bail!("{what}: {}: it was cut off", said.trim()),
        }
    }
}

impl Cluster {
    /// Signals the process of a replica, by the lab that its image has too. Returns what that said.
    ///
    /// # Errors
    /// It cannot be signalled; it is the first process of its namespace, for example.
    pub(crate) async fn signal(
        &self,
        pod: &str,
        service: crate::fleet::Service,
        signal: &str,
    ) -> anyhow::Result<String> {
        let program = service.program();
        self.exec(pod, program, &["lab", "signal", signal, program]).await
    }
}
