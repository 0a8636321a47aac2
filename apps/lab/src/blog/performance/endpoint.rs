//! The five ways to read the blog, and how to make each of them a hit or a miss.

use serde::Serialize;

use super::api::encoded;
use super::store::{Place, Store};
use super::system::System;
use crate::measure::http::fetch;

/// A kind of read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Endpoint {
    Post,
    AuthorPosts,
    TagPosts,
    Author,
    Popular,
}

impl Endpoint {
    pub(crate) const ALL: [Self; 5] = [Self::Post, Self::Author, Self::AuthorPosts, Self::TagPosts, Self::Popular];

    /// As a person writes it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Post => "GET /posts/{id}",
            Self::AuthorPosts => "GET /posts?author=",
            Self::TagPosts => "GET /posts?tag=",
            Self::Author => "GET /authors/{name}",
            Self::Popular => "GET /posts/popular",
        }
    }

    pub(crate) fn path(self, identity: &str) -> String {
        match self {
            Self::Post => format!("/posts/{identity}"),
            Self::AuthorPosts => format!("/posts?author={}", encoded(identity)),
            Self::TagPosts => format!("/posts?tag={}", encoded(identity)),
            Self::Author => format!("/authors/{}", encoded(identity)),
            Self::Popular => "/posts/popular?limit=20".to_owned(),
        }
    }

    /// At most `count` identities. Those of posts are taken from the end of the order, so they are not unread.
    pub(crate) fn identities(self, system: &System, count: usize) -> Vec<String> {
        match self {
            Self::Post => system.familiar(count).iter().map(i64::to_string).collect(),
            Self::AuthorPosts | Self::Author => system.subjects.authors.iter().take(count).cloned().collect(),
            Self::TagPosts => system.subjects.tags.iter().take(count).cloned().collect(),
            Self::Popular => vec!["popular".to_owned()],
        }
    }

    /// Where this endpoint's entries are in Redis, learned by reading one of them.
    ///
    /// # Errors
    /// The read failed, or no entry of that name appeared.
    pub(crate) async fn places(self, system: &System) -> anyhow::Result<Vec<Place>> {
        let identity = self.identities(system, 1).pop().unwrap_or_default();
        let before = system.store.places(&identity).await?;
        // What another endpoint keeps under the same name is not this one's, and stays.
        system.store.forget(before.iter().map(|place| place.key(&identity)).collect()).await?;
        let address = system.replicas[0];
        let (status, _) = fetch(address, &self.path(&identity)).await?;
        anyhow::ensure!(status == 200, "{} answered {status}", self.path(&identity));
        let places = system.store.places(&identity).await?;
        anyhow::ensure!(!places.is_empty(), "reading {} left no entry in Redis that names it", self.path(&identity));
        Ok(places)
    }
}

/// The keys of some identities.
pub(crate) fn keys(places: &[Place], identities: &[String]) -> Vec<String> {
    identities.iter().flat_map(|identity| places.iter().map(|place| place.key(identity))).collect()
}

/// Makes the next read of each identity a miss.
pub(crate) async fn forget(store: &Store, places: &[Place], identities: &[String]) -> anyhow::Result<()> {
    store.forget(keys(places, identities)).await
}
