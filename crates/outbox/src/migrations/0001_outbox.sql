-- What a committed change means for Redis, written in the transaction of the change itself.
create table if not exists {schema}.outbox (
    id         bigint generated always as identity primary key,
    keys       bytea[] not null default '{}',
    tags       bytea[] not null default '{}',
    -- The time of the insert, not of the transaction's begin: a relay counts its patience from here, and a long
    -- transaction must not use that up before it commits.
    created_at timestamptz not null default clock_timestamp(),
    -- When every invalidation of the row was known to be confirmed; null until then.
    applied_at timestamptz
) with (
    -- Every row is updated once and deleted once: vacuum early, so that the index below stays short.
    autovacuum_vacuum_scale_factor = 0.02
);

-- The relay's and the replay's question; holds only the few rows that are still open.
create index if not exists outbox_unapplied on {schema}.outbox (id) where applied_at is null;

-- Pruning, and the replay of what was applied lately.
create index if not exists outbox_applied_at on {schema}.outbox (applied_at);

-- Which Redis the last finished replay was sent to, per service and node.
create table if not exists {schema}.cache_identity (
    node           text primary key,
    run_id         text not null,
    replication_id text not null,
    recorded_at    timestamptz not null default clock_timestamp()
);
