//! The blog's own types. Each is made by parsing, so that a value of the type is right wherever it turns up:
//! nothing hostile in a path, a query string or a body reaches SQL or a key of the cache unparsed.

mod names;
mod page;
mod post;

pub use names::{AuthorName, Tag, Tags};
pub use page::{Cursor, Filter, Listing};
pub use post::{Body, CommentBody, Commenter, PostId, Title};
pub use service::paging::Limit;
pub use service::parse::Invalid;

/// Texts go into PostgreSQL, which cannot hold the NUL character, and out to terminals and logs.
fn has_nul(text: &str) -> bool {
    text.bytes().any(|byte| byte == 0)
}
