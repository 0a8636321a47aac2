//! What a person can do with the system that is up.

use crate::data::{ReplicaState, State};
use crate::fleet::Service;
use crate::screen::say;

/// Shows where the replicas answer, and what to try.
pub(super) fn show(state: &State) {
    say("");
    let workers = |name: &str| name.starts_with(Service::ShopWorker.program());
    for (_, replica) in state.replicas().filter(|(name, _)| !workers(name)) {
        say(&format!("  {}/docs   metrics: {}/metrics", replica.api, replica.admin));
    }
    for worker in state.shop.iter().flat_map(|shop| &shop.workers) {
        say(&format!("  {}/status   metrics: {}/metrics", worker.api, worker.admin));
    }
    if let Some((first, last)) = state.blog.as_ref().and_then(|blog| ends(&blog.replicas)) {
        blog(first, last);
    }
    if let Some((first, last)) = state.shop.as_ref().and_then(|shop| ends(&shop.replicas)) {
        shop(first, last);
    }
    if let Some((first, last)) = state.booking.as_ref().and_then(|booking| ends(&booking.replicas)) {
        booking(first, last);
    }
    say("");
    say("Ctrl-C stops everything.");
}

fn ends(replicas: &[ReplicaState]) -> Option<(&ReplicaState, &ReplicaState)> {
    replicas.first().zip(replicas.last())
}

fn blog(first: &ReplicaState, last: &ReplicaState) {
    say("");
    say("Try (the second read is a hit, on whichever replica):");
    say(&format!("  curl -i {}/posts/1", first.api));
    say(&format!(
        "  curl -i -X POST {}/posts/1/comments -H 'content-type: application/json' -d '{{\"author\":\"author-0001\",\"body\":\"Hello\"}}'",
        first.api
    ));
    say(&format!("  curl -i {}/posts/1", last.api));
}

fn shop(first: &ReplicaState, last: &ReplicaState) {
    say("");
    say("Try (any of the seven strategies in the path; after the change, `ttl` shows the old price for a while):");
    say(&format!("  curl -s {}/strategies", first.api));
    say(&format!("  curl -i {}/s/combined/products/42", first.api));
    say(&format!(
        "  curl -i -X PATCH {}/s/combined/products/42/price -H 'content-type: application/json' -d '{{\"price\":{{\"amount\":44900,\"currency\":\"EUR\"}}}}'",
        first.api
    ));
    say(&format!("  curl -i {}/s/combined/products/42", last.api));
}

fn booking(first: &ReplicaState, last: &ReplicaState) {
    say("");
    say("Try (ID is in the first answer; the same key twice books once; the audit counts what was sold):");
    say(&format!(
        "  curl -i -X POST {}/events -H 'content-type: application/json' -d '{{\"name\":\"Concert\",\"capacity\":2,\"strategy\":\"redis-fenced\"}}'",
        first.api
    ));
    say(&format!(
        "  curl -i -X POST {}/events/ID/bookings -H 'content-type: application/json' -H 'idempotency-key: mine' -d '{{\"seats\":1}}'",
        last.api
    ));
    say(&format!("  curl -i {}/events/ID/audit", first.api));
}
