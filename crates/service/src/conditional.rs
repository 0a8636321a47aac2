//! Entity tags and the conditions that requests make with them (RFC 9110, sections 8.8.3 and 13.1).

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hasher as _};

use axum::extract::FromRequestParts;
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use crate::Problem;

/// A strong entity tag, quotes included; kept on the stack, because each hit makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag {
    text: [u8; 22],
    len: u8,
}

impl EntityTag {
    /// The tag of a document that shows one row: its version in decimal.
    #[must_use]
    pub fn of_version(version: u64) -> Self {
        Self::quoted(itoa::Buffer::new().format(version).as_bytes())
    }

    /// The tag of any other document: a hash of its bytes, 16 hexadecimal digits.
    #[must_use]
    pub fn of_content(hash: u64) -> Self {
        let digits = hash.to_be_bytes().map(|byte| {
            let hex = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 15)];
            [hex(byte >> 4), hex(byte)]
        });
        Self::quoted(digits.as_flattened())
    }

    /// At most 20 characters, which is what a number has.
    fn quoted(opaque: &[u8]) -> Self {
        let mut text = [b'"'; 22];
        text[1..=opaque.len()].copy_from_slice(opaque);
        Self { text, len: u8::try_from(opaque.len() + 2).unwrap_or(22) }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.len)]
    }

    /// The tag of these bytes.
    #[must_use]
    pub fn of_bytes(content: &[u8]) -> Self {
        Self::of_content(Self::hash(content))
    }

    /// A hash of these bytes for [`of_content`](Self::of_content).
    #[must_use]
    pub fn hash(content: &[u8]) -> u64 {
        // SipHash with fixed keys. A build with another one only makes a client fetch a document once more.
        let mut hasher = DefaultHasher::new();
        hasher.write(content);
        hasher.finish()
    }

    /// The header's value.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(self.as_bytes()).expect("quotes and digits are visible ASCII")
    }
}

/// The documents that a client has already: `If-None-Match`. Most requests have none, and then this holds nothing.
#[derive(Clone, Debug, Default)]
pub struct IfNoneMatch(Vec<HeaderValue>);

impl IfNoneMatch {
    /// Reads `If-None-Match`.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Self {
        Self(headers.get_all(IF_NONE_MATCH).iter().cloned().collect())
    }

    /// Whether the client has the document with this tag. Tags are compared weakly, as the RFC has it for this header. A
    /// header that is not understood asks for nothing: the client gets the document.
    #[must_use]
    pub fn names(&self, current: EntityTag) -> bool {
        self.0.iter().any(|value| match value.as_bytes().trim_ascii() {
            b"*" => true,
            list => EntityTags(list).any(|tag| tag.is_ok_and(|tag| tag.opaque == current.as_bytes())),
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::read(&parts.headers))
    }
}

/// The thing has another version than those the client is willing to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The tag of the version that it has.
    pub current: EntityTag,
}

impl Mismatch {
    /// 412 with the tag of the version that there is; `detail` tells what to do.
    #[must_use]
    pub fn into_problem(self, detail: &'static str) -> Problem {
        Problem::precondition_failed(detail).header(ETAG, self.current.header())
    }
}

/// Which versions of a thing the client is willing to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IfMatch {
    /// Whichever there is.
    #[default]
    Any,
    /// One of these.
    OneOf(Vec<EntityTag>),
}

impl IfMatch {
    /// Reads `If-Match`.
    ///
    /// Tags are compared strongly: a weak one matches nothing, and neither does one that this service never gave out.
    ///
    /// # Errors
    /// What is wrong with the header. A condition that is not understood must not be ignored: the change it guards
    /// would happen.
    pub fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(IF_MATCH).iter().peekable();
        if values.peek().is_none() {
            return Ok(Self::Any);
        }
        let mut tags = Vec::new();
        for value in values {
            let list = value.as_bytes().trim_ascii();
            if list == b"*" {
                return Ok(Self::Any);
            }
            for tag in EntityTags(list) {
                let tag = tag.map_err(|Malformed| {
                    Problem::bad_request(
                        "The header if-match is not understood: it must be *, or a list of entity tags such as \"7\".",
                    )
                })?;
                // Longer than any tag of ours: it cannot be one.
                if !tag.weak && tag.opaque.len() <= 22 {
                    tags.push(EntityTag::quoted(&tag.opaque[1..tag.opaque.len() - 1]));
                }
            }
        }
        Ok(Self::OneOf(tags))
    }

    /// # Errors
    /// [`Mismatch`] if this is not a version that the client expects.
    pub fn check(&self, version: i64) -> Result<(), Mismatch> {
        let current = EntityTag::of_version(version.unsigned_abs());
        match self {
            Self::Any => Ok(()),
            Self::OneOf(tags) if tags.contains(&current) => Ok(()),
            Self::OneOf(_) => Err(Mismatch { current }),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::read(&parts.headers)
    }
}

/// One tag of a list.
struct Tagged<'a> {
    weak: bool,
    /// Quotes included.
    opaque: &'a [u8],
}

struct Malformed;

/// The tags of a list as it is in a header; ends with the first one that is malformed.
struct EntityTags<'a>(&'a [u8]);

impl<'a> Iterator for EntityTags<'a> {
    type Item = Result<Tagged<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        // A list may have empty elements.
        let mut rest = self.0;
        while let [b' ' | b'\t' | b',', after @ ..] = rest {
            rest = after;
        }
        self.0 = b"";
        if rest.is_empty() {
            return None;
        }
        let (weak, quoted) = match rest {
            [b'W', b'/', quoted @ ..] => (true, quoted),
            quoted => (false, quoted),
        };
        let closing = quoted.iter().skip(1).position(|&byte| byte == b'"').map(|position| position + 1);
        let (Some(b'"'), Some(closing)) = (quoted.first(), closing) else { return Some(Err(Malformed)) };
        let (opaque, after) = quoted.split_at(closing + 1);
        let legal = |&byte: &u8| byte == 0x21 || byte >= 0x23 && byte != 0x7f;
        let separated = matches!(after.trim_ascii_start(), [] | [b',', ..]);
        if !separated || !opaque[1..closing].iter().all(legal) {
            return Some(Err(Malformed));
        }
        self.0 = after;
        Some(Ok(Tagged { weak, opaque }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn tags_are_quoted() {
        assert_eq!(EntityTag::of_version(7).header(), "\"7\"");
        assert_eq!(EntityTag::of_version(u64::MAX).header(), "\"18446744073709551615\"");
        assert_eq!(EntityTag::of_content(0xab).header(), "\"00000000000000ab\"");
    }

    #[test]
    fn if_none_match_compares_weakly() {
        let matches =
            |values: &[&str]| IfNoneMatch::read(&headers(IF_NONE_MATCH, values)).names(EntityTag::of_version(7));
        for yes in
            [&["\"7\""][..], &["W/\"7\""], &["*"], &["\"6\", \"7\""], &["\"6\"", "\"7\""], &[",, \"7\" ,"], &[" * "]]
        {
            assert!(matches(yes), "{yes:?}");
        }
        for no in [
            &[][..],
            &["7"],
            &["\"6\""],
            &["\"77\""],
            &["w/\"7\""],
            &["\"7"],
            &["\"7\"x"],
            &["\"6\" \"7\""],
            &["\"*\""],
            &[""],
        ] {
            assert!(!matches(no), "{no:?}");
        }
    }

    #[test]
    fn if_match_compares_strongly_and_refuses_what_it_does_not_understand() {
        let read = |values: &[&str]| IfMatch::read(&headers(IF_MATCH, values));
        assert_eq!(read(&[]).unwrap(), IfMatch::Any);
        assert_eq!(read(&["*"]).unwrap(), IfMatch::Any);
        assert!(read(&["\"6\", \"7\""]).unwrap().check(7).is_ok());
        assert!(read(&["\"6\"", "\"7\""]).unwrap().check(7).is_ok());
        for stale in ["\"6\"", "W/\"7\"", "\"07\"", "\"\"", "\"x';drop\"", &format!("\"{}\"", "7".repeat(9_000))] {
            let checked = read(&[stale]).unwrap().check(7);
            assert_eq!(checked, Err(Mismatch { current: EntityTag::of_version(7) }), "{stale}");
        }
        for malformed in ["7", "\"7", "\"7\"8", "\"a b\"", "W/7", "**"] {
            assert_eq!(read(&[malformed]).unwrap_err().status(), 400, "{malformed}");
        }
    }
}
