//! The names of entries and tags in Redis.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::ConfigError;

thread_local! {
    /// Where a name is put together, once or several times for each read: it is then one allocation of its own length.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The prefix under which one user of the cache keeps all of its keys, for example a service's name.
///
/// Every name of this crate begins with it, so that a Redis ACL (`~<namespace>:fc:*`) can be written for the
/// service. Cloning is cheap, and no connection is needed: the code that changes rows can name what it touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace {
    namespace: Arc<str>,
}

impl Keyspace {
    /// A namespace: 1 to 64 characters out of ASCII letters, digits, `-`, `_`, `.` and `:`.
    ///
    /// # Errors
    /// [`ConfigError`] for an empty, longer or otherwise spelled namespace; braces, above all, would move
    /// every key of the cache into one hash slot of a Redis Cluster.
    pub fn new(namespace: &str) -> Result<Self, ConfigError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        if namespace.is_empty() || namespace.len() > 64 || !namespace.chars().all(allowed) {
            return Err(ConfigError::new(
                "namespace",
                namespace,
                "1 to 64 characters out of letters, digits, '-', '_', '.' and ':'",
            ));
        }
        Ok(Self { namespace: namespace.into() })
    }

    /// The namespace as given.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of one entry: `<namespace>:fc:{<kind>:<id>}`.
    ///
    /// `kind` says what the entry is (`post`, `author-page`) and must not contain `:` or braces, or two kinds
    /// could share a name; `id` may be any bytes. The braces put everything that one script touches into one
    /// hash slot.
    ///
    /// # Panics
    /// If `kind` is empty or holds one of `:`, `{`, `}`: it is a constant of the program, not an input.
    #[must_use]
    pub fn entry(&self, kind: &'static str, id: impl KeyPart) -> Key {
        Key { name: self.name(":fc:{", kind, &id), tags: Arc::default() }
    }

    /// The name of one tag's epoch: `<namespace>:fc:tag:{<kind>:<id>}`.
    ///
    /// # Panics
    /// As [`entry`](Self::entry).
    #[must_use]
    pub fn tag(&self, kind: &'static str, id: impl KeyPart) -> Tag {
        Tag { name: self.name(":fc:tag:{", kind, &id) }
    }

    fn name(&self, infix: &str, kind: &'static str, id: &impl KeyPart) -> Bytes {
        assert!(
            !kind.is_empty() && !kind.bytes().any(|byte| matches!(byte, b':' | b'{' | b'}')),
            "kind {kind:?} must be non-empty and free of ':', '{{' and '}}'"
        );
        let mut text = SCRATCH.take();
        text.clear();
        text.extend_from_slice(self.namespace.as_bytes());
        text.extend_from_slice(infix.as_bytes());
        text.extend_from_slice(kind.as_bytes());
        text.push(b':');
        id.write_to(&mut text);
        text.push(b'}');
        let name = Bytes::copy_from_slice(&text);
        SCRATCH.set(text);
        name
    }
}

/// One entry's name and the tags it is filed under.
///
/// An entry's tags are a function of its key: they are captured before anything is loaded, so they can not
/// depend on the loaded value. Whoever reads an entry must give it the same tags, in the same order.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    name: Bytes,
    tags: Arc<[Tag]>,
}

impl Key {
    /// Files the entry under `tags`: it is valid only while none of them has been invalidated since.
    ///
    /// # Panics
    /// If there are more than 255 tags.
    #[must_use]
    pub fn tagged(self, tags: impl IntoIterator<Item = Tag>) -> Self {
        let tags: Arc<[Tag]> = tags.into_iter().collect();
        assert!(u8::try_from(tags.len()).is_ok(), "an entry has at most 255 tags");
        Self { tags, ..self }
    }

    /// The full name in Redis.
    #[must_use]
    pub fn name(&self) -> &Bytes {
        &self.name
    }

    /// The tags of this entry.
    #[must_use]
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.name.escape_ascii())
    }
}

/// One tag's name. Invalidating a tag invalidates every entry that is filed under it, with one write to Redis.
#[derive(Clone, PartialEq, Eq)]
pub struct Tag {
    name: Bytes,
}

impl Tag {
    /// The full name of the tag's epoch in Redis.
    #[must_use]
    pub fn name(&self) -> &Bytes {
        &self.name
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({})", self.name.escape_ascii())
    }
}

/// What can identify an entry or a tag within its kind: integers in decimal, strings and bytes as they are.
pub trait KeyPart {
    /// Appends this part to a key's name.
    fn write_to(&self, name: &mut Vec<u8>);
}

macro_rules! key_part_in_decimal {
    ($($integer:ty),*) => {$(
        impl KeyPart for $integer {
            fn write_to(&self, name: &mut Vec<u8>) {
                name.extend_from_slice(itoa::Buffer::new().format(*self).as_bytes());
            }
        }
    )*};
}
key_part_in_decimal!(u64, i64, u32, i32);

macro_rules! key_part_by_bytes {
    ($($text:ty),*) => {$(
        impl KeyPart for $text {
            fn write_to(&self, name: &mut Vec<u8>) {
                name.extend_from_slice(self.as_ref());
            }
        }
    )*};
}
key_part_by_bytes!(&str, String, &String, &[u8], Vec<u8>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_protocol() {
        let keyspace = Keyspace::new("blog").unwrap();
        assert_eq!(keyspace.entry("post", 42_i64).name(), &"blog:fc:{post:42}");
        assert_eq!(keyspace.tag("author", "ann").name(), &"blog:fc:tag:{author:ann}");
        assert_eq!(keyspace.entry("post", i64::MIN).name(), &"blog:fc:{post:-9223372036854775808}");
    }

    #[test]
    fn ids_are_any_bytes() {
        let keyspace = Keyspace::new("a").unwrap();
        let key = keyspace.entry("k", b"\x00}{\xff\r\n".as_slice());
        assert_eq!(key.name().as_ref(), b"a:fc:{k:\x00}{\xff\r\n}");
    }

    #[test]
    fn a_namespace_that_would_change_the_slot_is_refused() {
        for wrong in ["", "a{b", "a b", &"x".repeat(65)] {
            assert!(Keyspace::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    #[should_panic(expected = "kind")]
    fn a_kind_that_could_run_into_the_id_is_refused() {
        let _ = Keyspace::new("a").unwrap().entry("post:1", 2_u64);
    }
}
