//! `/strategies`: what each promises, what it costs, and when to choose it.

use axum::extract::State;
use service::Json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shop;
use super::problems::Always;
use crate::model::StrategyList;

pub(super) fn router() -> OpenApiRouter<Shop> {
    OpenApiRouter::new().routes(routes!(list))
}

/// All strategies
///
/// As this replica is set up: with its TTL, and with or without a near cache.
#[utoipa::path(
    get, path = "/strategies", operation_id = "listStrategies", tag = "strategies",
    responses((status = 200, description = "The strategies", body = StrategyList), Always)
)]
async fn list(State(shop): State<Shop>) -> Json<StrategyList> {
    Json(StrategyList { items: shop.catalog.strategies().documents().collect() })
}
