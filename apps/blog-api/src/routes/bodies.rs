//! The bodies of requests: first JSON of the right shape, then values that are allowed. All that is wrong with the
//! values is told at once.

use serde::Deserialize;
use service::parse::Checked;
use utoipa::ToSchema;

use crate::domain::{AuthorName, Body, CommentBody, Commenter, Tags, Title};
use crate::error::Error;
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

/// Every tag, each with what is wrong with it.
fn tags(checked: &mut Checked, tags: &[String]) -> Option<Tags> {
    Some(Tags::parse(tags, |index, invalid| {
        let pointer = index.map_or_else(|| "/tags".to_owned(), |index| format!("/tags/{index}"));
        checked.wrong(pointer, &invalid);
    }))
}

impl CreatePost {
    pub(super) fn parse(self) -> Result<NewPost, Error> {
        let mut checked = Checked::new();
        let author = checked.field("/author", self.author.parse::<AuthorName>());
        let title = checked.field("/title", Title::parse(self.title));
        let body = checked.field("/body", Body::parse(self.body));
        let tags = tags(&mut checked, &self.tags);
        let post = || Some(NewPost { author: author?, title: title?, body: body?, tags: tags? });
        Ok(checked.finish(post())?)
    }
}

impl ReplacePost {
    pub(super) fn parse(self) -> Result<PostUpdate, Error> {
        let mut checked = Checked::new();
        let title = checked.field("/title", Title::parse(self.title));
        let body = checked.field("/body", Body::parse(self.body));
        let tags = tags(&mut checked, &self.tags);
        let author = self.author.and_then(|author| checked.field("/author", author.parse::<AuthorName>()));
        let update = || Some(PostUpdate { author, title: title?, body: body?, tags: tags? });
        Ok(checked.finish(update())?)
    }
}

impl CreateComment {
    pub(super) fn parse(self) -> Result<NewComment, Error> {
        let mut checked = Checked::new();
        let author = checked.field("/author", Commenter::parse(self.author));
        let body = checked.field("/body", CommentBody::parse(self.body));
        let comment = || Some(NewComment { author: author?, body: body? });
        Ok(checked.finish(comment())?)
    }
}
