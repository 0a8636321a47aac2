//! Which posts a list shows, and which page of it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{AuthorName, Invalid, Limit, PostId, Tag};

/// Where a page of a list begins: after this post. Opaque to clients, who get it as `next` and hand it back.
///
/// Nine bytes in base64url: the format's number, then the id. A client may make one up; all it can say is an id,
/// and every id is a place in every list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor(PostId);

impl Cursor {
    const FORMAT: u8 = 1;

    /// The page after this post.
    #[must_use]
    pub fn after(id: PostId) -> Self {
        Self(id)
    }

    /// The post after which the page begins.
    #[must_use]
    pub fn id(self) -> PostId {
        self.0
    }
}

impl FromStr for Cursor {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::rule("must be the `next` of a page of this list, unchanged");
        let mut bytes = [0; 9];
        // 9 bytes are exactly 12 characters: there is one spelling of each cursor.
        if text.len() != 12 || URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) != Ok(bytes.len()) {
            return Err(wrong());
        }
        let [format, id @ ..] = bytes;
        match i64::from_be_bytes(id) {
            id @ 1.. if format == Self::FORMAT => Ok(Self(PostId::of_row(id))),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [Self::FORMAT; 9];
        bytes[1..].copy_from_slice(&self.0.get().to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

service::parsed_text!(Cursor);

/// Which posts a list shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// All of them.
    Recent,
    /// Those of one author.
    Author(AuthorName),
    /// Those with a tag.
    Tag(Tag),
    /// Those of one author with a tag.
    AuthorAndTag(AuthorName, Tag),
}

impl Filter {
    /// The filter that was asked for.
    #[must_use]
    pub fn new(author: Option<AuthorName>, tag: Option<Tag>) -> Self {
        match (author, tag) {
            (None, None) => Self::Recent,
            (Some(author), None) => Self::Author(author),
            (None, Some(tag)) => Self::Tag(tag),
            (Some(author), Some(tag)) => Self::AuthorAndTag(author, tag),
        }
    }
}

/// One page of one list, newest posts first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listing {
    /// Which posts.
    pub filter: Filter,
    /// How many at most.
    pub limit: Limit,
    /// After which post; from the newest one on without it.
    pub after: Option<Cursor>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_has_one_spelling() {
        for id in [1, 42, 500_000, i64::MAX] {
            let text = Cursor::after(PostId::of_row(id)).to_string();
            assert_eq!(text.len(), 12);
            assert_eq!(text.parse::<Cursor>().unwrap().id().get(), id);
        }
    }

    #[test]
    fn a_hostile_cursor_is_refused() {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let zero = encode(&[1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let negative = encode(&[1, 255, 255, 255, 255, 255, 255, 255, 255]);
        let other_format = encode(&[2, 0, 0, 0, 0, 0, 0, 0, 1]);
        let short = encode(&[1, 0, 0, 0, 0, 0, 0, 1]);
        let long = encode(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let odd = [
            "",
            "1",
            "' or 1=1 --",
            "AQAAAAAAAAA\0",
            "AQAAAAAAAA==",
            "AQAAAAAAAA+/",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
        ];
        for odd in odd.into_iter().chain([&*zero, &negative, &other_format, &short, &long, &"A".repeat(1 << 16)]) {
            assert!(odd.parse::<Cursor>().is_err(), "{:?}", &odd[..odd.len().min(40)]);
        }
    }
}
