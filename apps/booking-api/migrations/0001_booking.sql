-- Events and their bookings. The migrator has made the schema already: its own table of migrations lies in it.

create table booking.events (
    id bigint generated always as identity primary key,
    name text not null,
    capacity integer not null,
    -- Fixed for the event's life: every writer of an event must take the same lock.
    strategy text not null,
    -- Seats of live bookings, kept in the booking's own transaction. 0 for pg-units and redis-reserve, whose point it is that
    -- their buyers do not all write this one row: for them it is counted.
    booked integer not null default 0,
    -- The newest fence that has entered; only the lock library writes it.
    fence bigint not null default 0,
    created_at timestamptz not null default now(),
    constraint events_name_check check (char_length(name) between 1 and 200),
    constraint events_capacity_check check (capacity between 1 and 100000),
    constraint events_strategy_check check (strategy in (
        'none', 'redis', 'redis-fenced', 'redlock', 'pg-advisory', 'pg-row', 'k8s-lease',
        'pg-conditional', 'pg-units', 'redis-reserve')),
    constraint events_booked_check check (booked >= 0),
    -- The last line of defence, and each time that it refuses is a metric which must stay 0: what keeps the promise
    -- is the strategy. Three strategies are there to be seen failing, so for them it stands aside.
    constraint events_not_oversold check (booked <= capacity or strategy in ('none', 'redis', 'redlock')),
    -- What claims refer to, so that the capacity that a claim was checked against is the event's.
    constraint events_id_capacity_key unique (id, capacity)
);

-- For the gauge of oversold seats: the events that can be oversold. `booked` is in no index and in no index' condition,
-- which would make each booking write a new entry into every index of the table.
create index events_unguarded_idx on booking.events (strategy) where strategy in ('none', 'redis', 'redlock');

create table booking.bookings (
    id bigint generated always as identity primary key,
    event_id bigint not null constraint bookings_event_id_fkey references booking.events (id),
    seats integer not null,
    buyer text,
    -- The seats' numbers, where the strategy gives out numbered seats. They stay here after a cancellation.
    seat_numbers integer[],
    idempotency_key text,
    -- The fence that the section had, where its lock has fences.
    fence bigint,
    created_at timestamptz not null default now(),
    cancelled_at timestamptz,
    constraint bookings_seats_check check (seats between 1 and 10),
    constraint bookings_buyer_check check (char_length(buyer) between 1 and 100),
    constraint bookings_seat_numbers_check check (cardinality(seat_numbers) = seats)
);

create index bookings_event_id_id_idx on booking.bookings (event_id, id);

-- A key is written in the transaction of its booking: it is there exactly if the booking is.
create table booking.idempotency_keys (
    key text constraint idempotency_keys_pkey primary key,
    -- SHA-256 of what was asked for: the same key with another request is refused.
    fingerprint bytea not null,
    booking_id bigint not null constraint idempotency_keys_booking_id_fkey references booking.bookings (id),
    created_at timestamptz not null default now(),
    constraint idempotency_keys_key_check check (octet_length(key) between 1 and 255),
    constraint idempotency_keys_fingerprint_check check (octet_length(fingerprint) = 32)
);

-- For pruning.
create index idempotency_keys_created_at_idx on booking.idempotency_keys (created_at);
