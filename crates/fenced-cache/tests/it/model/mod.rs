//! An exhaustive model of the cache protocol: every state that any order of its steps can reach is visited.
//!
//! The protocol is argued in prose elsewhere; here a machine looks for the order of events that breaks it. A model is a
//! state, the steps that are possible in it, and the properties that hold in every state. The checker
//! ([`stateright`]) starts at an empty cache and takes every step from every state until there is no new one. So a
//! test that passes says more than "we tried": within the bounds of the model, no order of delays, losses, crashes and
//! expiries makes a reader see an older version than was acknowledged.
//!
//! What is modelled is the specification, field by field and script by script, not the code of the crate. That the
//! scripts do on a real Redis what [`redis`] says is tested beside this; so are the orders of events in which real
//! servers could differ.
//!
//! # The models
//!
//! One model of everything would never end. Each of these has what belongs to one question, and nothing else:
//!
//! | model | question | sections |
//! | --- | --- | --- |
//! | [`entry`] | leases, fills, puts, soft invalidation, ABANDON; expiry and eviction at any moment; late, lost and repeated commands; crashes and their repair; COMMIT in doubt | 2, 3, 4 |
//! | [`tagged`] | who may share a flight, with tags and without; values too large to store | 3, 5 |
//! | [`bypass`] | who may share a query past the cache | 3 |
//! | [`failover`] | a promoted replica that lags, two primaries, the replay, trust of each connection, fresh processes | 7 |
//! | [`near`] | marks, pushes, the canary, a flushed, lost or silent server; own writes, strict writers; tags' epochs | 6 |
//! | [`wakeup`] | waiting for somebody else's load, with pushes and without | 3, 6 |
//! | [`relay`] | numbers, heartbeats and gaps of the `event` strategy | 4 |
//!
//! # What is left out
//!
//! - **Time**, but for [`wakeup`]. Clocks decide nothing in the guarantees, so expiry, the end of a lease, time-outs and
//!   "past `fresh_until`" may happen at any step. What may happen at any moment covers what happens at some moment.
//! - **Replies.** A command that runs and its reply are one step: a reply that is late delays the next command, which may
//!   run at any later step anyhow; a reply that is lost is a command that runs after its sender gave up on it.
//! - **Numbers.** Tokens and epochs are random, so the models only ever ask whether two are equal. Two readers and two
//!   writers are enough to disagree about one key; the bounds of each model are stated at its head.
//! - **Payloads.** A value is the number of the commit that it shows, so "older" is a comparison of numbers.
//!
//! # The rules, taken away one by one
//!
//! A model that finds nothing may be unable to find anything. So [`wrong::Wrong`] has a switch for each rule, and with
//! the rule gone the checker must find a counterexample. Each such test holds the specification's own trace, told in
//! the model's steps, and demands two things: that this trace breaks the property, and that the checker, left alone,
//! finds a trace that is no longer. In the other direction every model without a switch has properties of the kind
//! *sometimes*, which fail if it can no longer reach what it is about.
//!
//! | section 10 | tests |
//! | --- | --- |
//! | fill without token; lease not killed | `entry::rows::{fill_without_token, lease_not_killed}` |
//! | token per client | `entry::rows::token_per_client` |
//! | version floor instead of token and kill | `entry::rows::version_floor_instead_of_token_and_kill` |
//! | delete only before commit | `entry::rows::delete_only_before_commit` |
//! | snapshot older than the lease | `entry::rows::snapshot_older_than_the_lease` |
//! | put uncompared; put onto absent or lease | `entry::rows::{put_uncompared, put_onto_absent, put_onto_a_lease}` |
//! | put keeps a refresh lease | `entry::rows::put_keeps_a_refresh_lease` |
//! | put onto a negative entry | `entry::rows::put_onto_a_negative_entry` |
//! | version drawn at begin | `entry::rows::version_drawn_at_begin` |
//! | version restarts at re-creation | `entry::rows::version_restarts_at_re_creation` |
//! | join after FILL sent; share a refused load | `tagged::rows::{join_after_fill_sent, share_a_refused_load}` |
//! | tagged flight without second epoch read | `tagged::rows::tagged_flight_without_second_epoch_read` |
//! | coalesced bypass | `bypass::coalesced_bypass` |
//! | `Applied` when journalled; no outbox; no replay | `entry::rows::{applied_when_journalled, no_outbox}`, `failover::rows::no_replay` |
//! | invalidate and ack while the COMMIT is in doubt | `entry::rows::invalidate_and_acknowledge_while_the_commit_is_in_doubt` |
//! | a new process trusts at once | `failover::rows::a_new_process_trusts_at_once` |
//! | tag counter; missing = valid; late capture | `tagged::rows::{tag_counter, missing_epoch_valid, late_capture}` |
//! | near: no or shared mark | `near::rows::{no_mark, shared_mark}` |
//! | near: NOLOOP, no flush | `near::rows::{noloop, no_flush_on_a_lost_connection, no_flush_on_a_lagged_channel, no_flush_on_a_lost_canary}`, `wakeup::noloop` |
//! | near: no drain | `near::rows::no_drain` |
//! | outbox: `id > last`; no heartbeat; gaps ignored | `relay::{id_greater_than_last, no_heartbeat, gaps_ignored}` |
//!
//! Rules that the text states without a row in that table have their tests below the rows of each model.
//!
//! # What the specification leaves open
//!
//! - **New in it, and held**: ABANDON, `seen`, `drop`, tags and lease in one entry are part of every
//!   `the_protocol_holds…`. Without ABANDON's comparison or `seen`, loads are wasted (G2), and nothing stale is stored;
//!   `drop` is mere tidiness (`entry::rows::drop_is_not_needed_for_safety`).
//! - **ABANDON proves as much as STORED.** A value too large to store may be shared by a flight if ABANDON, sent after
//!   closing, matched, and the epochs are as captured (`tagged::rows::the_protocol_holds_with_puts_and_values_too_large_to_store`,
//!   and the rows `too_large_…`).
//! - **Trust belongs to one connection** (`failover::rows::trust_outlives_the_connection`).
//! - **The pair is recorded after the second replay**, not after the first one: else the second one is known to one process
//!   alone, and if that one dies within `settle`, its successors find the pair equal and limit 2 lasts to `hard_ttl`
//!   (`failover::rows::second_replay_forgotten_by_a_process_that_dies`).
//! - **"Repetition of commands" does not extend to ACQUIRE**: a copy that runs after the DELETE brings the lease back, and
//!   the fill of the old load is stored. Nothing but "sent once" guards against it (`entry::rows::acquire_repeated`).
//! - **PUT and SOFTEN do not mix** on one entry as the scripts are specified, unless PUT also kills what is soft
//!   (`entry::rows::puts_of_the_same_entries_as_soft_invalidation`, `entry::rows::puts_that_kill_soft_values_…`).
//! - **Everything near is flushed once the canary is set again**, and not only when it is found missing: until it is there,
//!   another FLUSHALL goes unnoticed, and what was read in between is not tracked any more
//!   (`near::rows::flushed_before_the_canary_is_set`).
//! - **The canary's renewal must cause a push**: a server that has stopped to push to this connection would be proved by the
//!   very absence of pushes (`near::rows::silence_believed`).
//! - **A write of this process removes the near entry and the marks twice**, at COMMIT and when its invalidation is
//!   confirmed: then no near hit of the process is older than its acknowledged writes
//!   (`near::rows::{own_write_forgotten_once, own_write_leaves_marks}`).
//! - **Tags' epochs are near entries of their own**, with marks of their own, compared at each hit
//!   (`near::tags::{tag_unchecked, tag_unmarked, tag_judged_once}`).
//! - **A waiter whose READ shows no lease does not sleep**: nothing would push any more
//!   (`wakeup::sleep_for_a_lease_that_was_gone_at_read`).
//!
//! # Reading a failure
//!
//! A counterexample is printed as the list of its steps from the first state on. In the models that hold, readers,
//! writers and processes that differ by their number alone are one (their order is normalised after each step), so the
//! number of an actor may change from one step to the next. `cargo test -p fenced-cache --test it model:: -- --nocapture`
//! prints the number of states of each model and the shortest counterexample of each wrong variant.

mod bypass;
mod check;
mod entry;
mod failover;
mod near;
mod redis;
mod relay;
mod tagged;
mod wakeup;
mod wrong;
