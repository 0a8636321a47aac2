//! What locks are called.

use std::fmt;
use std::sync::Arc;

use crate::error::ConfigError;

/// The prefix under which one service keeps its locks, so that an ACL (`~<namespace>:fl:*`) can be written for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// 1 to 64 characters out of ASCII letters, digits, `-`, `_` and `.`.
    ///
    /// # Errors
    /// [`ConfigError`] for anything else. Braces, above all, would change the hash slot in a Redis Cluster.
    pub fn new(namespace: &str) -> Result<Self, ConfigError> {
        if namespace.is_empty() || namespace.len() > 64 || !namespace.chars().all(plain) {
            let allowed = "1 to 64 characters out of letters, digits, '-', '_' and '.'";
            return Err(ConfigError::new("namespace", namespace, allowed));
        }
        Ok(Self(namespace.into()))
    }

    /// As given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// The key of the one row that a lock protects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A number, such as a `bigint` primary key.
    Number(i64),
    /// A text of 1 to 512 bytes without NUL.
    Text(Arc<str>),
}

impl From<i64> for Key {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// The name of a lock: what kind of row it protects, and which one. One lock, one row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    kind: Arc<str>,
    key: Key,
    text: Arc<str>,
}

impl Name {
    /// `<kind>:<key>`, for example `event:42`.
    ///
    /// # Errors
    /// [`ConfigError`] if the kind is not 1 to 64 letters, digits, `-`, `_` or `.`, or a text key is empty, longer
    /// than 512 bytes or holds a NUL.
    pub fn new(kind: &str, key: impl Into<Key>) -> Result<Self, ConfigError> {
        if kind.is_empty() || kind.len() > 64 || !kind.chars().all(plain) {
            return Err(ConfigError::new(
                "lock kind",
                kind,
                "1 to 64 characters out of letters, digits, '-', '_' and '.'",
            ));
        }
        let key = key.into();
        if let Key::Text(text) = &key
            && (text.is_empty() || text.len() > 512 || text.contains('\0'))
        {
            return Err(ConfigError::new("lock key", format!("{} bytes", text.len()), "1 to 512 bytes without NUL"));
        }
        let text = format!("{kind}:{key}").into();
        Ok(Self { kind: kind.into(), key, text })
    }

    /// What kind of row.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Which row.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// `<kind>:<key>`
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(Name::new("event", 42).unwrap().as_str(), "event:42");
        assert_eq!(Name::new("event", "any thing {}").unwrap().as_str(), "event:any thing {}");
        assert!(Name::new("a:b", 1).is_err());
        assert!(Name::new("event", "").is_err());
        assert!(Name::new("event", "x".repeat(513)).is_err());
        assert!(Namespace::new("a{b}").is_err());
        assert!(Namespace::new("booking").is_ok());
    }
}
