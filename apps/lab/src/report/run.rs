//! One run, as its files have it.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::Value;

/// What every experiment writes, whatever else it does. What is missing was written by an older lab.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct Run {
    /// As `blog-performance`.
    #[serde(default)]
    pub(super) experiment: String,
    /// What was typed.
    #[serde(default)]
    pub(super) command: Option<String>,
    /// RFC 3339, in UTC.
    pub(super) started_at: String,
    #[serde(default)]
    pub(super) seconds: Option<f64>,
    #[serde(default)]
    pub(super) machine: Option<Value>,
    #[serde(default)]
    pub(super) versions: Option<Value>,
    #[serde(default)]
    pub(super) figures: Vec<Wanted>,
    #[serde(default)]
    pub(super) broken: Vec<String>,
    /// The tables as they were shown.
    #[serde(default)]
    pub(super) text: String,
    #[serde(skip)]
    pub(super) picture: Option<String>,
}

/// A figure that the project wants to reach.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Wanted {
    pub(super) what: String,
    pub(super) measured: String,
    pub(super) target: String,
    pub(super) reached: Option<bool>,
}

impl Run {
    /// # Errors
    /// The file cannot be read, or no experiment wrote it.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut run: Self =
            serde_json::from_str(&text).with_context(|| format!("{} is no run of the lab", file.display()))?;
        if run.experiment.is_empty() {
            run.experiment = named(file).with_context(|| format!("{} has no name", file.display()))?;
        }
        let picture = file.with_extension("svg");
        run.picture = match std::fs::read_to_string(&picture) {
            Ok(svg) if svg.trim_start().starts_with("<svg") => Some(svg),
            Ok(_) => bail!("{} is no picture", picture.display()),
            // Not every experiment draws one.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", picture.display())),
        };
        Ok(run)
    }

    /// The machine and the programs, in one line.
    pub(super) fn place(&self) -> String {
        let text = |part: &Option<Value>, name: &str| {
            part.as_ref()?.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        };
        let machine = |name| text(&self.machine, name).filter(|value| value != "null");
        let mut parts: Vec<String> = Vec::new();
        if let (Some(cores), Some(processor)) = (machine("cores"), machine("processor")) {
            parts.push(format!("{cores} cores of {processor}"));
        }
        parts.extend(machine("system"));
        parts.extend(machine("load_before").map(|load| format!("load {load} before")));
        for (program, name) in [("postgres", "PostgreSQL"), ("redis", "Redis")] {
            parts.extend(text(&self.versions, program).map(|version| format!("{name} {version}")));
        }
        parts.join(", ")
    }
}

/// `blog-performance` of `blog-performance-latest.json` or `blog-performance-20261124T114037Z.json`.
fn named(file: &Path) -> Option<String> {
    let name = file.file_stem()?.to_str()?;
    let stamped = |end: &str| end == "latest" || (end.ends_with('Z') && end.starts_with(|c: char| c.is_ascii_digit()));
    Some(name.rsplit_once('-').filter(|(_, end)| stamped(end)).map_or(name, |(name, _)| name).to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Run, named};

    #[test]
    fn a_file_names_its_experiment() {
        for (file, name) in [
            ("x/blog-performance-latest.json", "blog-performance"),
            ("booking-faults-20261124T114037Z.json", "booking-faults"),
            ("mine.json", "mine"),
            ("shop-ttl-sweep.json", "shop-ttl-sweep"),
        ] {
            assert_eq!(named(Path::new(file)).as_deref(), Some(name));
        }
    }

    #[test]
    fn what_no_experiment_wrote_is_refused_by_its_name() {
        let folder = std::env::temp_dir().join(format!("lab-report-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (json, svg) = (folder.join("a-latest.json"), folder.join("a-latest.svg"));
        for wrong in ["", "[]", "{\"started_at\": 1}", "{}"] {
            std::fs::write(&json, wrong).unwrap();
            let said = format!("{:#}", Run::read(&json).unwrap_err());
            assert!(said.contains("a-latest.json is no run of the lab"), "{said}");
        }
        std::fs::write(
            &json,
            "{\"started_at\":\"2026-11-24T11:40:37Z\",\"machine\":{\"cores\":2,\"processor\":\"P\"}}",
        )
        .unwrap();
        let run = Run::read(&json).unwrap();
        assert_eq!((run.experiment.as_str(), run.place().as_str(), &run.picture), ("a", "2 cores of P", &None));
        std::fs::write(&svg, "<html>").unwrap();
        assert!(Run::read(&json).unwrap_err().to_string().contains("is no picture"));
        std::fs::write(&svg, "<svg/>").unwrap();
        assert!(Run::read(&json).unwrap().picture.is_some());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
