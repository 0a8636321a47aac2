//! What a person can do with the system that is up.

use crate::data::{ReplicaState, State};
use crate::screen::say;

/// Shows where the replicas answer, and what to try.
pub(super) fn show(state: &State) {
    say("");
    for (_, replica) in state.replicas() {
        say(&format!("  {}/docs   metrics: {}/metrics", replica.api, replica.admin));
    }
    if let Some((first, last)) = state.blog.as_ref().and_then(|blog| ends(&blog.replicas)) {
        blog(first, last);
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
