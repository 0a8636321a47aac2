//! The first part of each path: by which strategy.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use service::Problem;

use super::Shop;
use crate::error::Error;
use crate::strategies::Strategy;

/// The strategy that the path names; 404 with the list of all if there is none of that name. It goes before the path's other
/// parameters, so that this is said first.
#[derive(Debug)]
pub(super) struct Chosen(pub(super) Arc<dyn Strategy>);

impl FromRequestParts<Shop> for Chosen {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shop: &Shop) -> Result<Self, Problem> {
        // As it stands there: all parameters would be decoded and copied for it, and the names need no encoding.
        let name = parts.uri.path().strip_prefix("/s/").and_then(|rest| rest.split('/').next());
        name.and_then(|name| shop.catalog.strategies().named(name))
            .cloned()
            .map(Self)
            .ok_or_else(|| Error::NoSuchStrategy.into())
    }
}
