-- pg-units: a row per seat.

create table booking.units (
    -- No foreign key: the rows are made in the transaction that makes their event, and asking for each of 100,000 seats
    -- whether it is there takes three times as long as making them.
    event_id bigint not null,
    seat integer not null,
    -- Whose it is; null while it is free.
    booking_id bigint constraint units_booking_id_fkey references booking.bookings (id),
    constraint units_pkey primary key (event_id, seat),
    constraint units_seat_check check (seat >= 1)
);

-- Who looks for a free seat must not walk over those that are sold.
create index units_free_idx on booking.units (event_id, seat) where booking_id is null;
