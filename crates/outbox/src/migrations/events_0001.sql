-- Events: what a committed change means for those who read a channel.
--
-- An event waits here from the transaction of its change until it has a number. Not a column of the log: what is taken
-- by the thousand per second leaves dead rows behind, and these are vacuumed quickly only where the table is short.
create table if not exists {schema}.outbox_event_pending (
    -- The order among events of which each saw the one before it committed, or waited for its lock: drawn after both.
    id          bigint generated always as identity primary key,
    payload     bytea not null,
    -- The time of the insert, not of the transaction's begin.
    recorded_at timestamptz not null default clock_timestamp()
) with (
    autovacuum_vacuum_scale_factor = 0.02,
    -- Where every row is deleted soon, a share of the rows that are there says nothing.
    autovacuum_vacuum_threshold = 10000
);

-- The events that have a number: 1, 2, 3 and so on, without a gap up to the counter's `last`.
create table if not exists {schema}.outbox_event (
    number      bigint primary key,
    payload     bytea not null,
    recorded_at timestamptz not null,
    numbered_at timestamptz not null default clock_timestamp()
) with (
    -- Nothing is updated, and what is deleted is the oldest part: the visibility map is what vacuum is for here.
    autovacuum_vacuum_scale_factor = 0.05
);

-- One row: the last number given out, and which relay gives them out until when. The row's lock lets one number at a time,
-- whoever believes to be the one.
create table if not exists {schema}.outbox_event_counter (
    only_one     boolean primary key default true check (only_one),
    last         bigint not null default 0,
    leader       text,
    leader_until timestamptz not null default '-infinity'
) with (
    -- Updated several times a second for ever: room for the new version on the same page.
    fillfactor = 10
);
insert into {schema}.outbox_event_counter default values on conflict do nothing;

-- How far each reader has got: it has applied every event up to `number`.
create table if not exists {schema}.outbox_event_reader (
    reader  text primary key,
    number  bigint not null,
    seen_at timestamptz not null default clock_timestamp()
) with (
    fillfactor = 10
);

-- What a reader did not understand. `number` is null for what only came over the channel: that is nobody's event.
create table if not exists {schema}.outbox_event_aside (
    id           bigint generated always as identity primary key,
    reader       text not null,
    number       bigint,
    payload      bytea not null,
    reason       text not null,
    set_aside_at timestamptz not null default clock_timestamp(),
    unique (reader, number)
);
