//! The services' own migrations, run as anybody would run them.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;

/// How long migrations may take: they make tables, and wait for another one that is at it.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs `<binary> migrate`.
pub(crate) async fn migrate(binary: &Path, database_url: &str, log: &Path) -> anyhow::Result<()> {
    let name = binary.file_name().unwrap_or(binary.as_os_str()).to_string_lossy();
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut migration = Command::new(binary)
        .arg("migrate")
        .env("DATABASE_URL", database_url)
        .env("LOG_FORMAT", "text")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {} migrate", binary.display()))?;
    let status = tokio::time::timeout(DEADLINE, migration.wait()).await.with_context(|| {
        format!("`{name} migrate` is not done after {} s; see its log {}", DEADLINE.as_secs(), log.display())
    })??;
    if !status.success() {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        bail!("`{name} migrate` failed: {} (log: {})", last.trim(), log.display());
    }
    Ok(())
}
