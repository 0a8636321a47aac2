//! Finding the servers' programs, in a version that is new enough.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::error::TestbedError;

const POSTGRES_NEEDED: u32 = 15;
const REDIS_NEEDED: u32 = 7;

/// `postgres` and `initdb` of one installation.
#[derive(Debug, Clone)]
pub(crate) struct PostgresPrograms {
    pub(crate) postgres: PathBuf,
    pub(crate) initdb: PathBuf,
}

/// PostgreSQL's programs: `POSTGRES_BIN` (its bin folder, or the `postgres` in it), else the first installation that is
/// new enough on PATH, where Debian and Red Hat put it, or in Homebrew's folders, newest first.
pub(crate) fn postgres() -> Result<PostgresPrograms, TestbedError> {
    static FOUND: OnceLock<PostgresPrograms> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let candidates = match env::var_os("POSTGRES_BIN") {
        Some(given) => {
            let given = PathBuf::from(given);
            vec![if given.is_dir() { given.join("postgres") } else { given }]
        }
        None => {
            let mut places = on_path("postgres");
            places.extend(numbered("/usr/lib/postgresql", "", "bin/postgres"));
            places.extend(numbered("/usr", "pgsql-", "bin/postgres"));
            for brew in ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"] {
                places.extend(numbered(brew, "postgresql@", "bin/postgres"));
            }
            places
        }
    };
    let programs = candidates.into_iter().filter_map(|postgres| {
        // The link that a distribution puts on PATH need not have initdb beside it; its target has.
        let postgres = postgres.canonicalize().ok()?;
        let initdb = postgres.with_file_name("initdb");
        initdb.exists().then_some((postgres, initdb))
    });
    let (postgres, initdb) = new_enough(programs, |pair| &pair.0, &["PostgreSQL"], POSTGRES_NEEDED).map_err(|found| {
        TestbedError::NotInstalled {
            name: "PostgreSQL",
            needed: POSTGRES_NEEDED,
            found,
            advice: "apt-get install postgresql (macOS: brew install postgresql@17), or set POSTGRES_BIN to its bin folder",
        }
    })?;
    Ok(FOUND.get_or_init(|| PostgresPrograms { postgres, initdb }).clone())
}

/// Redis's server: `REDIS_SERVER`, else on PATH, else in Homebrew's folders.
pub(crate) fn redis() -> Result<PathBuf, TestbedError> {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let candidates = match env::var_os("REDIS_SERVER") {
        Some(given) => vec![PathBuf::from(given)],
        None => {
            let mut places = on_path("redis-server");
            let usual = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/home/linuxbrew/.linuxbrew/bin"];
            places.extend(usual.map(|folder| Path::new(folder).join("redis-server")));
            places
        }
    };
    let found =
        new_enough(candidates.into_iter(), |path| path, &["Redis", "Valkey"], REDIS_NEEDED).map_err(|found| {
            TestbedError::NotInstalled {
                name: "Redis",
                needed: REDIS_NEEDED,
                found,
                advice: "apt-get install redis-server (macOS: brew install redis), or set REDIS_SERVER to its path",
            }
        })?;
    Ok(FOUND.get_or_init(|| found).clone())
}

/// The first candidate whose program says that it is one of these, of the version or a newer one; else what was found
/// instead.
fn new_enough<T>(
    candidates: impl Iterator<Item = T>,
    program: impl Fn(&T) -> &PathBuf,
    names: &[&str],
    needed: u32,
) -> Result<T, String> {
    let mut too_old = String::new();
    for candidate in candidates {
        let path = program(&candidate);
        match major_version(path, names) {
            Some(major) if major >= needed => return Ok(candidate),
            Some(major) if too_old.is_empty() => too_old = format!(" ({} is {major})", path.display()),
            _ => {}
        }
    }
    Err(too_old)
}

fn major_version(program: &Path, names: &[&str]) -> Option<u32> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    names.iter().any(|name| text.contains(name)).then(|| parse_major(&text))?
}

/// The first number that starts a word, or follows `v=` as in `Redis server v=7.0.15 sha=…`.
fn parse_major(text: &str) -> Option<u32> {
    text.split_whitespace().find_map(|word| {
        let word = word.strip_prefix("v=").unwrap_or(word);
        let digits = word.find(|c: char| !c.is_ascii_digit()).map_or(word, |end| &word[..end]);
        digits.parse().ok()
    })
}

fn on_path(program: &str) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(program)).filter(|file| file.is_file()).collect()
}

/// `folder/<prefix><number>/<tail>` for every number that exists, the highest first.
fn numbered(folder: &str, prefix: &str, tail: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path().join(tail)))
        })
        .collect();
    found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    found.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_every_distribution_are_read() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(
            parse_major("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d\n"),
            Some(7)
        );
        assert_eq!(parse_major("Valkey server v=8.1.0 sha=0 malloc=libc bits=64 build=1\n"), Some(8));
        assert_eq!(parse_major("command not found"), None);
    }

    #[test]
    fn a_version_that_is_too_old_is_named() {
        let redis = redis().expect("redis-server is installed where these tests run");
        let check = |names: &[&str], needed| new_enough([redis.clone()].into_iter(), |path| path, names, needed);
        assert_eq!(check(&["Redis", "Valkey"], 7).as_ref(), Ok(&redis));
        let message = check(&["Redis", "Valkey"], 1_000).unwrap_err();
        assert!(message.starts_with(&format!(" ({} is ", redis.display())), "{message}");
        assert_eq!(check(&["PostgreSQL"], 1), Err(String::new()), "another program is none at all");
    }

    #[test]
    fn numbered_folders_come_newest_first() {
        let base = env::temp_dir().join(format!("testbed-numbered-{}", std::process::id()));
        for name in ["pg-9", "pg-16", "pg-15", "pg-x", "other-99"] {
            fs::create_dir_all(base.join(name)).unwrap();
        }
        let found = numbered(base.to_str().unwrap(), "pg-", "bin");
        fs::remove_dir_all(&base).unwrap();
        assert_eq!(found, ["pg-16", "pg-15", "pg-9"].map(|name| base.join(name).join("bin")));
    }
}
