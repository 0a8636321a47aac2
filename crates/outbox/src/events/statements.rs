//! Every statement about events, written once with the schema's name in it.

use crate::schema::{Schema, Shared};

#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) record: Shared,
    pub(crate) leadable: Shared,
    pub(crate) lead: Shared,
    pub(crate) resign: Shared,
    pub(crate) pending: Shared,
    pub(crate) number: Shared,
    pub(crate) backlog: Shared,
    pub(crate) prune: Shared,
    pub(crate) page: Shared,
    pub(crate) last_before: Shared,
    pub(crate) last: Shared,
    pub(crate) position: Shared,
    pub(crate) advance: Shared,
    pub(crate) set_aside: Shared,
    pub(crate) set_aside_stray: Shared,
    pub(crate) aside: Shared,
    pub(crate) understood: Shared,
}

impl Statements {
    pub(crate) fn new(schema: &Schema) -> Self {
        let shared = |template: &str| Shared::new(schema, template);
        Self {
            // Ids are drawn row by row as the subquery delivers them, so the events of one call keep their order.
            record: shared(
                "insert into {schema}.outbox_event_pending (payload) \
                 select payload from unnest($1::bytea[]) with ordinality as given (payload, place) order by place",
            ),
            // Plain, so that those who stand by never wait for the row that the leader has locked.
            leadable: shared(
                "select leader is null or leader = $1 or leader_until < clock_timestamp() \
                 from {schema}.outbox_event_counter",
            ),
            lead: shared(
                "update {schema}.outbox_event_counter \
                 set leader = $1, leader_until = clock_timestamp() + make_interval(secs => $2) \
                 where leader is null or leader = $1 or leader_until < clock_timestamp() returning last",
            ),
            resign: shared("update {schema}.outbox_event_counter set leader = null where leader = $1"),
            pending: shared("select exists (select from {schema}.outbox_event_pending)"),
            // Its snapshot is taken after `lead` has locked the counter in the same transaction: it shows all that the relay
            // before has numbered, and nobody else can number until COMMIT. $1 is the `last` which that lock showed.
            number: shared(
                "with due as materialized \
                 (select id from {schema}.outbox_event_pending order by id limit $2), \
                 taken as (delete from {schema}.outbox_event_pending as pending using due where pending.id = due.id \
                 returning pending.id, pending.payload, pending.recorded_at), \
                 logged as (insert into {schema}.outbox_event (number, payload, recorded_at) \
                 select $1 + row_number() over (order by id), payload, recorded_at from taken \
                 returning number, payload, recorded_at), \
                 counted as (update {schema}.outbox_event_counter set last = $1 + (select count(*) from logged)) \
                 select number, payload, recorded_at, \
                 extract(epoch from clock_timestamp() - recorded_at)::float8 from logged order by number",
            ),
            backlog: shared(
                "select (select count(*) from (select from {schema}.outbox_event_pending limit $1) as open), \
                 (select coalesce(extract(epoch from statement_timestamp() - min(recorded_at)), 0)::float8 from \
                 (select recorded_at from {schema}.outbox_event_pending order by id limit $1) as oldest), \
                 (select coalesce(counter.last - min(reader.number), 0) from {schema}.outbox_event_reader as reader)::bigint \
                 from {schema}.outbox_event_counter as counter",
            ),
            // The oldest part of the log, up to the first event that is too young or that a reader still needs.
            prune: shared(
                "with oldest as materialized \
                 (select number, numbered_at < statement_timestamp() - make_interval(secs => $1) as old \
                 from {schema}.outbox_event order by number limit $3), \
                 bound as (select least( \
                 (select coalesce(min(number) filter (where not old) - 1, max(number)) from oldest), \
                 (select min(number) from {schema}.outbox_event_reader \
                 where seen_at > statement_timestamp() - make_interval(secs => $2))) as number) \
                 delete from {schema}.outbox_event as event using bound where event.number <= bound.number",
            ),
            page: shared(
                "select number, payload, recorded_at from {schema}.outbox_event where number > $1 order by number limit $2",
            ),
            // From the end: what is younger is little beside what is kept, and no index has to be written for this.
            last_before: shared(
                "select coalesce((select number from {schema}.outbox_event \
                 where numbered_at <= statement_timestamp() - make_interval(secs => $1) order by number desc limit 1), 0)",
            ),
            last: shared("select last from {schema}.outbox_event_counter"),
            // A new reader begins with what is there: what it reads may be older than it is.
            position: shared(
                "insert into {schema}.outbox_event_reader (reader, number) \
                 select $1, coalesce((select min(number) - 1 from {schema}.outbox_event), last) \
                 from {schema}.outbox_event_counter \
                 on conflict (reader) do update set seen_at = clock_timestamp() returning number",
            ),
            // Never back: a reader that was followed by another one may say late how far it had got.
            advance: shared(
                "update {schema}.outbox_event_reader \
                 set number = greatest(number, $2), seen_at = clock_timestamp() where reader = $1",
            ),
            set_aside: shared(
                "insert into {schema}.outbox_event_aside (reader, number, payload, reason) values ($1, $2, $3, $4) \
                 on conflict (reader, number) do nothing",
            ),
            // Anybody who may publish could fill the disk.
            set_aside_stray: shared(
                "insert into {schema}.outbox_event_aside (reader, number, payload, reason) select $1, null, $2, $3 \
                 where (select count(*) from {schema}.outbox_event_aside where reader = $1 and number is null) < $4",
            ),
            aside: shared(
                "select number, payload from {schema}.outbox_event_aside where reader = $1 and number > $2 \
                 order by number limit $3",
            ),
            understood: shared("delete from {schema}.outbox_event_aside where reader = $1 and number = any($2)"),
        }
    }
}
