//! What a post and a comment consist of.

use service::parse::one_line;

use super::{Invalid, has_nul};

service::row_ids!(
    /// The id of a post: a whole number from 1 on.
    PostId
);

/// A post's title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title(String);

/// A post's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body(String);

/// Who wrote a comment: any name, not only an author's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commenter(String);

/// A comment's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommentBody(String);

/// What was wrong with the text, for one of a limited number of bytes.
fn long_text(text: &str, most: usize, rule: &'static str) -> Result<(), Invalid> {
    if text.is_empty() || text.len() > most {
        return Err(Invalid::rule(rule));
    }
    if has_nul(text) {
        return Err(Invalid::rule("must not have the character NUL"));
    }
    Ok(())
}

impl Title {
    /// Most characters of a title.
    pub const MAX: usize = 200;

    /// # Errors
    /// What is allowed.
    pub fn parse(text: String) -> Result<Self, Invalid> {
        one_line(&text, Self::MAX, "must have 1 to 200 characters, not only space").map(|()| Self(text))
    }

    /// The title.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Body {
    /// Most bytes (UTF-8) of a post's text.
    pub const MAX: usize = 64 << 10;

    /// # Errors
    /// What is allowed.
    pub fn parse(text: String) -> Result<Self, Invalid> {
        long_text(&text, Self::MAX, "must have 1 to 65536 bytes").map(|()| Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Commenter {
    /// Most characters of a name.
    pub const MAX: usize = 100;

    /// # Errors
    /// What is allowed.
    pub fn parse(text: String) -> Result<Self, Invalid> {
        one_line(&text, Self::MAX, "must have 1 to 100 characters, not only space").map(|()| Self(text))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CommentBody {
    /// Most bytes (UTF-8) of a comment.
    pub const MAX: usize = 16 << 10;

    /// # Errors
    /// What is allowed.
    pub fn parse(text: String) -> Result<Self, Invalid> {
        long_text(&text, Self::MAX, "must have 1 to 16384 bytes").map(|()| Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_count_characters_in_titles_and_bytes_in_bodies() {
        assert!(Title::parse("\u{1f980}".repeat(200)).is_ok());
        assert!(Title::parse("\u{1f980}".repeat(201)).is_err());
        for odd in ["", " ", "\u{3000}", "a\0b", "a\nb"] {
            assert!(Title::parse(odd.to_owned()).is_err(), "{odd:?}");
        }
        assert!(Body::parse("x".repeat(65_536)).is_ok());
        assert!(Body::parse("\u{e9}".repeat(32_768)).is_ok());
        assert!(Body::parse("x".repeat(65_537)).is_err());
        assert!(Body::parse(String::new()).is_err());
        assert!(Body::parse("line\nline\u{7}".to_owned()).is_ok());
        assert!(Body::parse("a\0b".to_owned()).is_err());
        assert!(CommentBody::parse("x".repeat(16_384)).is_ok());
        assert!(CommentBody::parse("x".repeat(16_385)).is_err());
        assert!(Commenter::parse("x".repeat(100)).is_ok());
        assert!(Commenter::parse("x".repeat(101)).is_err());
    }
}
