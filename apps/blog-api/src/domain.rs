//! The blog's own types. Each is made by parsing, so that a value of the type is right wherever it turns up:
//! nothing hostile in a path, a query string or a body reaches SQL or a key of the cache unparsed.

mod names;
mod page;
mod post;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Deserializer;
use serde::de::{Error, Visitor};

pub use names::{AuthorName, Tag, Tags};
pub use page::{Cursor, Filter, Limit, Listing};
pub use post::{Body, CommentBody, Commenter, PostId, Title};

/// Why a text is not a value of its type: what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub(crate) Cow<'static, str>);

impl Invalid {
    fn rule(rule: &'static str) -> Self {
        Self(Cow::Borrowed(rule))
    }
}

/// Deserializes a type from its text, without a copy of the text.
struct Parsing<T>(PhantomData<T>);

fn parsed<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err = Invalid>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_str(Parsing(PhantomData))
}

impl<T: FromStr<Err = Invalid>> Visitor<'_> for Parsing<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// `Deserialize` by way of `FromStr`, and `Display` by way of `as_str`.
macro_rules! parsed_text {
    ($($type:ty),*) => {$(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::domain::parsed(deserializer)
            }
        }
    )*};
}
use parsed_text;

/// Texts go into PostgreSQL, which cannot hold the NUL character, and out to terminals and logs.
fn has_nul(text: &str) -> bool {
    text.bytes().any(|byte| byte == 0)
}
