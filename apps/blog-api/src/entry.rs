//! What is cached: which documents there are, what loads each, and what a change of rows means for them.
//!
//! | entry | key in Redis | filed under | invalidated by |
//! | --- | --- | --- | --- |
//! | a post | `{post:42}` | | its key |
//! | a page of all posts | `{recent:20/<after>}` | `{recent:all}` | the tag |
//! | a page of an author's posts | `{by-author:20/<after>/ann}` | `{author:ann}` | the tag |
//! | a page of a tag's posts | `{by-tag:20/<after>/rust}` | `{tag:rust}` | the tag |
//! | a page of an author's posts with a tag | `{by-both:20/<after>/ann/rust}` | `{author:ann}` | the tag |
//! | an author's page | `{author:ann}` | `{author:ann}` | the tag |
//! | the most popular posts | `{popular:top}` | | nothing: it lives by its TTL |
//!
//! Every change of a post moves its version and so shows on each page that lists the post: those of its author, of
//! each of its tags, and of all posts, as they were before the change and as they are after it. Nothing else shows it.

use std::fmt;

use fenced_cache::{Effects, Key, Keyspace, Tag as CacheTag};

use crate::domain::{AuthorName, Filter, Listing, PostId};
use crate::store::{Document, LoadError, Store, Touched};
use service_cache::Validator;

/// One cached document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// A post.
    Post(PostId),
    /// A page of a list.
    Page(Listing),
    /// An author's page.
    Author(AuthorName),
    /// The most popular posts, as many as anybody may ask for.
    Popular,
}

impl Entry {
    /// Reads the document from the database.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load(&self, store: &Store) -> Result<Option<Document>, LoadError> {
        match self {
            Self::Post(id) => store.post(*id).await,
            Self::Page(listing) => store.page(listing).await.map(Some),
            Self::Author(name) => store.author(name).await,
            Self::Popular => store.popular().await.map(Some),
        }
    }

    /// What tells one state of the document from another: the version of the one row that it shows, or a hash.
    #[must_use]
    pub fn validator(&self) -> Validator {
        if matches!(self, Self::Post(_)) { Validator::Version } else { Validator::Hash }
    }
}

/// The names of entries and of their tags.
#[derive(Clone, Debug)]
pub struct Names {
    keys: Keyspace,
}

impl Names {
    /// Names within this keyspace.
    #[must_use]
    pub fn new(keys: Keyspace) -> Self {
        Self { keys }
    }

    /// The entry's key, with the tags it is filed under.
    #[must_use]
    pub fn key(&self, entry: &Entry) -> Key {
        match entry {
            Entry::Post(id) => self.keys.entry("post", id.get()),
            Entry::Page(listing) => self.page(listing),
            Entry::Author(name) => self.keys.entry("author", name.as_str()).tagged([self.of_author(name.as_str())]),
            Entry::Popular => self.keys.entry("popular", "top"),
        }
    }

    fn page(&self, listing: &Listing) -> Key {
        let place = Place(listing);
        match &listing.filter {
            Filter::Recent => self.keys.entry("recent", place.to_string()).tagged([self.recent()]),
            Filter::Author(author) => {
                self.keys.entry("by-author", format!("{place}/{author}")).tagged([self.of_author(author.as_str())])
            }
            Filter::Tag(tag) => self.keys.entry("by-tag", format!("{place}/{tag}")).tagged([self.of_tag(tag.as_str())]),
            // A post that comes to this list or leaves it is one of the author's: the author's tag is enough.
            Filter::AuthorAndTag(author, tag) => {
                self.keys.entry("by-both", format!("{place}/{author}/{tag}")).tagged([self.of_author(author.as_str())])
            }
        }
    }

    /// What a change of a post does to the cache.
    pub fn effects(&self, touched: &Touched) -> Effects {
        let effects = Effects::new().delete(&self.key(&Entry::Post(touched.post))).tag(&self.recent());
        let effects = touched.authors.iter().fold(effects, |effects, author| effects.tag(&self.of_author(author)));
        touched.tags.iter().fold(effects, |effects, tag| effects.tag(&self.of_tag(tag)))
    }

    fn recent(&self) -> CacheTag {
        self.keys.tag("recent", "all")
    }

    fn of_author(&self, author: &str) -> CacheTag {
        self.keys.tag("author", author)
    }

    fn of_tag(&self, tag: &str) -> CacheTag {
        self.keys.tag("tag", tag)
    }
}

/// Where a page begins and how long it is; in front of the filter's texts, which could hold anything.
struct Place<'a>(&'a Listing);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.0.limit)?;
        match self.0.after {
            Some(cursor) => cursor.id().fmt(f),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::domain::Cursor;

    fn names() -> Names {
        Names::new(Keyspace::new("blog").unwrap())
    }

    fn page(author: Option<&str>, tag: Option<&str>, limit: &str, after: Option<i64>) -> Entry {
        let filter = Filter::new(author.map(|name| name.parse().unwrap()), tag.map(|tag| tag.parse().unwrap()));
        let after = after.map(|id| Cursor::after(PostId::of_row(id)));
        Entry::Page(Listing { filter, limit: limit.parse().unwrap(), after })
    }

    fn key(entry: &Entry) -> String {
        String::from_utf8(names().key(entry).name().to_vec()).unwrap()
    }

    fn tags(entry: &Entry) -> Vec<String> {
        let key = names().key(entry);
        key.tags().iter().map(|tag| String::from_utf8(tag.name().to_vec()).unwrap()).collect()
    }

    #[test]
    fn keys_and_tags_are_those_of_the_table() {
        let post = Entry::Post(PostId::of_row(42));
        assert_eq!((key(&post), tags(&post)), ("blog:fc:{post:42}".into(), vec![]));
        let recent = page(None, None, "20", Some(7));
        assert_eq!(
            (key(&recent), tags(&recent)),
            ("blog:fc:{recent:20/7}".into(), vec!["blog:fc:tag:{recent:all}".into()])
        );
        let by_author = page(Some("ann"), None, "20", None);
        assert_eq!(key(&by_author), "blog:fc:{by-author:20//ann}");
        assert_eq!(tags(&by_author), ["blog:fc:tag:{author:ann}"]);
        let by_tag = page(None, Some("rust"), "5", None);
        assert_eq!(
            (key(&by_tag), tags(&by_tag)),
            ("blog:fc:{by-tag:5//rust}".into(), vec!["blog:fc:tag:{tag:rust}".into()])
        );
        let both = page(Some("ann"), Some("rust"), "5", Some(1));
        assert_eq!(
            (key(&both), tags(&both)),
            ("blog:fc:{by-both:5/1/ann/rust}".into(), vec!["blog:fc:tag:{author:ann}".into()])
        );
    }

    #[test]
    fn no_two_entries_share_a_key() {
        let entries = [
            page(None, None, "1", None),
            page(None, None, "10", None),
            page(None, None, "1", Some(1)),
            page(None, Some("1/x"), "1", None),
            page(None, Some("x"), "1", None),
            page(Some("x"), None, "1", None),
            page(Some("x"), Some("y"), "1", None),
            page(Some("x"), Some("y/z"), "1", None),
            page(None, Some("x/y"), "1", None),
            Entry::Author("x".parse().unwrap()),
            Entry::Post(PostId::of_row(1)),
            Entry::Popular,
        ];
        let keys: HashSet<String> = entries.iter().map(key).collect();
        assert_eq!(keys.len(), entries.len());
    }

    #[test]
    fn a_change_touches_the_state_before_and_the_state_after() {
        let touched = Touched {
            post: PostId::of_row(42),
            authors: ["ann".to_owned(), "bob".to_owned()].into(),
            tags: ["old".to_owned(), "new".to_owned()].into(),
        };
        let effects = names().effects(&touched);
        let text = |name: &bytes::Bytes| String::from_utf8(name.to_vec()).unwrap();
        assert_eq!(effects.keys().map(text).collect::<Vec<_>>(), ["blog:fc:{post:42}"]);
        let tags: HashSet<String> = effects.tags().map(text).collect();
        let expected = ["{recent:all}", "{author:ann}", "{author:bob}", "{tag:old}", "{tag:new}"];
        assert_eq!(tags, expected.map(|tag| format!("blog:fc:tag:{tag}")).into());
    }
}
