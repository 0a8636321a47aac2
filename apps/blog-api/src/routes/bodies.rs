//! The bodies of requests: first JSON of the right shape, then values that are allowed. All that is wrong with the
//! values is told at once.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::{AuthorName, Body, CommentBody, Commenter, Invalid, Tags, Title};
use crate::error::{Error, Field};
use crate::store::{NewComment, NewPost, PostUpdate};

/// A post to be written.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"author": "author-0042", "title": "Leases", "body": "A fill needs one.", "tags": ["redis", "caching"]}))]
pub(super) struct CreatePost {
    /// Name of the author.
    #[schema(max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*$")]
    author: String,
    /// 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    title: String,
    /// 1 to 65,536 bytes of UTF-8, without the character NUL.
    #[schema(min_length = 1)]
    body: String,
    /// At most 10 different tags of 1 to 50 characters; case and space around them do not count.
    #[serde(default)]
    tags: Vec<String>,
}

/// What a post shall be from now on.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"title": "Leases, explained", "body": "A fill needs one.", "tags": ["redis"]}))]
pub(super) struct ReplacePost {
    /// 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    title: String,
    /// 1 to 65,536 bytes of UTF-8, without the character NUL.
    #[schema(min_length = 1)]
    body: String,
    /// At most 10 different tags of 1 to 50 characters; case and space around them do not count.
    tags: Vec<String>,
    /// Name of the author; without it, the author stays.
    #[schema(max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*$")]
    author: Option<String>,
}

/// A comment to be written.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"author": "A reader", "body": "I had not thought of that."}))]
pub(super) struct CreateComment {
    /// Who writes it: any name of 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    author: String,
    /// 1 to 16,384 bytes of UTF-8, without the character NUL.
    #[schema(min_length = 1)]
    body: String,
}

/// Collects what is wrong, field by field.
#[derive(Default)]
struct Checked {
    wrong: Vec<Field>,
}

impl Checked {
    fn field<T>(&mut self, pointer: &str, parsed: Result<T, Invalid>) -> Option<T> {
        parsed.map_err(|invalid| self.wrong.push(Field::new(pointer, invalid.to_string()))).ok()
    }

    fn tags(&mut self, tags: &[String]) -> Option<Tags> {
        Some(Tags::parse(tags, |index, invalid| {
            let pointer = index.map_or_else(|| "/tags".to_owned(), |index| format!("/tags/{index}"));
            self.wrong.push(Field::new(pointer, invalid.to_string()));
        }))
    }

    /// `value` is whole if nothing was wrong.
    fn finish<T>(self, value: Option<T>) -> Result<T, Error> {
        match value {
            Some(value) if self.wrong.is_empty() => Ok(value),
            _ => Err(Error::Invalid(self.wrong)),
        }
    }
}

impl CreatePost {
    pub(super) fn parse(self) -> Result<NewPost, Error> {
        let mut checked = Checked::default();
        let author = checked.field("/author", self.author.parse::<AuthorName>());
        let title = checked.field("/title", Title::parse(self.title));
        let body = checked.field("/body", Body::parse(self.body));
        let tags = checked.tags(&self.tags);
        let post = || Some(NewPost { author: author?, title: title?, body: body?, tags: tags? });
        checked.finish(post())
    }
}

impl ReplacePost {
    pub(super) fn parse(self) -> Result<PostUpdate, Error> {
        let mut checked = Checked::default();
        let title = checked.field("/title", Title::parse(self.title));
        let body = checked.field("/body", Body::parse(self.body));
        let tags = checked.tags(&self.tags);
        let author = self.author.and_then(|author| checked.field("/author", author.parse::<AuthorName>()));
        let update = || Some(PostUpdate { author, title: title?, body: body?, tags: tags? });
        checked.finish(update())
    }
}

impl CreateComment {
    pub(super) fn parse(self) -> Result<NewComment, Error> {
        let mut checked = Checked::default();
        let author = checked.field("/author", Commenter::parse(self.author));
        let body = checked.field("/body", CommentBody::parse(self.body));
        let comment = || Some(NewComment { author: author?, body: body? });
        checked.finish(comment())
    }
}
