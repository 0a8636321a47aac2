//! The names of authors and of tags.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::Invalid;

/// An author's name: what the URL of the author's page ends in. It never changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorName(Arc<str>);

impl AuthorName {
    /// Most characters of a name.
    pub const MAX: usize = 63;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AuthorName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > Self::MAX || text.starts_with('-') || !text.bytes().all(allowed) {
            return Err(Invalid::rule("must have 1 to 63 characters out of a-z, 0-9 and '-', and not begin with '-'"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for AuthorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One tag, in the form in which tags are compared: without space around it, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Arc<str>);

impl Tag {
    /// Most characters of a tag.
    pub const MAX: usize = 50;

    /// The tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // Four bytes is the longest character: what is longer than this needs no lower case to be refused.
        if text.len() > 4 * (Self::MAX + 1) && text.trim().chars().nth(Self::MAX).is_some() {
            return Err(Invalid::rule("must have 1 to 50 characters"));
        }
        let normal = text.trim().to_lowercase();
        if normal.is_empty() || normal.chars().nth(Self::MAX).is_some() {
            return Err(Invalid::rule("must have 1 to 50 characters"));
        }
        if normal.chars().any(char::is_control) {
            return Err(Invalid::rule("must not have control characters"));
        }
        Ok(Self(normal.into()))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

service::parsed_text!(AuthorName, Tag);

/// The tags of one post: each once, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Vec<String>);

impl Tags {
    /// Most tags of one post.
    pub const MAX: usize = 10;

    /// Normalizes the tags and drops repeated ones. Wrong ones are told to `wrong` with their index; `None` as the
    /// index means the tags as a whole.
    pub fn parse(texts: &[String], mut wrong: impl FnMut(Option<usize>, Invalid)) -> Self {
        let mut tags: Vec<String> = Vec::new();
        if texts.len() > 10 * Self::MAX {
            wrong(None, Self::too_many());
            return Self(tags);
        }
        for (index, text) in texts.iter().enumerate() {
            match text.parse::<Tag>() {
                Ok(tag) if tags.iter().any(|known| known == tag.as_str()) => {}
                Ok(tag) => tags.push(tag.as_str().to_owned()),
                Err(invalid) => wrong(Some(index), invalid),
            }
        }
        if tags.len() > Self::MAX {
            wrong(None, Self::too_many());
        }
        Self(tags)
    }

    fn too_many() -> Invalid {
        Invalid::rule("must be at most 10 different tags")
    }

    /// The tags.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn author_names() {
        for fine in ["a", "ann", "author-0001", "0", &"x".repeat(63)] {
            assert_eq!(fine.parse::<AuthorName>().unwrap().as_str(), fine);
        }
        for odd in ["", "-a", "Ann", "a b", "a/b", "a'b", "a\0b", "\u{e9}", "a_b", &"x".repeat(64)] {
            assert!(odd.parse::<AuthorName>().is_err(), "{odd:?}");
        }
    }

    #[test]
    fn tags_are_normalized() {
        assert_eq!(" Rust ".parse::<Tag>().unwrap().as_str(), "rust");
        assert_eq!("\u{c4}RGER".parse::<Tag>().unwrap().as_str(), "\u{e4}rger");
        assert_eq!("\u{1f980} Crab".parse::<Tag>().unwrap().as_str(), "\u{1f980} crab");
        assert!("\u{1f980}".repeat(50).parse::<Tag>().is_ok());
        for odd in ["", "   ", "a\0b", "a\nb", &"x".repeat(51), &"\u{1f980}".repeat(51), &"x".repeat(1 << 20)] {
            assert!(odd.parse::<Tag>().is_err(), "{:?}", &odd[..odd.len().min(60)]);
        }
        // One character that becomes two.
        assert!("\u{130}".repeat(26).parse::<Tag>().is_err());
        // Space around it does not count.
        assert_eq!(format!("{0}x{0}", " ".repeat(500)).parse::<Tag>().unwrap().as_str(), "x");
    }

    fn tags(texts: &[&str]) -> (Vec<String>, Vec<Option<usize>>) {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        let mut wrong = Vec::new();
        let tags = Tags::parse(&texts, |index, _| wrong.push(index));
        (tags.0, wrong)
    }

    #[test]
    fn repeated_tags_count_once() {
        assert_eq!(tags(&["b", "A", "a ", "B"]), (vec!["b".into(), "a".into()], vec![]));
        let eleven: Vec<String> = (0..11).map(|n| n.to_string()).collect();
        let eleven: Vec<&str> = eleven.iter().map(String::as_str).collect();
        assert_eq!(tags(&eleven[..10]).1, []);
        assert_eq!(tags(&eleven).1, [None]);
        assert_eq!(tags(&["a", "", "b", "\0"]).1, [Some(1), Some(3)]);
        assert_eq!(tags(&["a"; 101]).1, [None]);
    }
}
