//! The first part of each path: by which strategy.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
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
        let not_text = |_| Problem::bad_request("The path is not UTF-8.");
        let params = RawPathParams::from_request_parts(parts, shop).await.map_err(not_text)?;
        let name = params.iter().find(|(param, _)| *param == "strategy").map(|(_, value)| value);
        name.and_then(|name| shop.catalog.strategies().named(name))
            .cloned()
            .map(Self)
            .ok_or_else(|| Error::NoSuchStrategy.into())
    }
}
