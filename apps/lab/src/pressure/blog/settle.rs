//! The end of a load on the blog.

use std::time::{Duration, Instant};

use sqlx::PgPool;

use super::ground::Ground;
use crate::blog::performance::api;
use crate::measure::connection::Line;
use crate::measure::http::REQUEST;
use crate::pressure::addresses::{Addresses, Route};

/// How long all replicas together may take to show what the database holds, once nobody writes any more.
const SETTLE: Duration = Duration::from_secs(20);
/// Between two looks at one replica.
const AGAIN: Duration = Duration::from_millis(20);

/// One line for each ready replica that does not show in time what the database holds: also what was written while a
/// store was away must become visible.
pub(super) async fn behind(ground: &Ground, addresses: &Addresses, database: &PgPool) -> anyhow::Result<Vec<String>> {
    let mut behind = Vec::new();
    let deadline = Instant::now() + SETTLE;
    for post in &ground.hot {
        let version: i64 = sqlx::query_scalar("select version from blog.posts where id = $1")
            .bind(post.id)
            .fetch_one(database)
            .await?;
        let version = u64::try_from(version)?;
        let mut request = Vec::new();
        api::get_post(&mut request, post.id);
        for replica in addresses.ready() {
            let mut line = Line::new(replica.address, REQUEST);
            loop {
                let shown = line.exchange(&request).await.ok().and_then(|response| api::etag(&response));
                if shown == Some(version) {
                    break;
                }
                // A replica that has gone meanwhile shows nothing to anybody.
                let there = addresses.ready().iter().any(|other| other.address == replica.address);
                if !there {
                    break;
                }
                if Instant::now() > deadline {
                    behind.push(format!(
                        "post {}: {} shows version {shown:?} and the database has {version}, {SETTLE:?} after the last write",
                        post.id, replica.name
                    ));
                    break;
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    Ok(behind)
}

/// Takes the hot posts away again. What is left behind when that fails is harmless.
pub(super) async fn clean(ground: &Ground, addresses: &Addresses) {
    let Some(address) = addresses.pick(Route::Service, 0) else { return };
    let mut line = Line::new(address, REQUEST);
    for post in &ground.hot {
        let _ = line.exchange(&api::delete(&format!("/posts/{}", post.id))).await;
    }
}
