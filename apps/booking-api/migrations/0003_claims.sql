-- redis-reserve: what Redis hands out becomes somebody's by a row here, and by nothing else.

create table booking.claims (
    event_id bigint not null,
    seat integer not null,
    -- The event's, so that the check can see it; the foreign key holds it to the truth.
    capacity integer not null,
    booking_id bigint not null constraint claims_booking_id_fkey references booking.bookings (id),
    -- A seat is sold once.
    constraint claims_pkey primary key (event_id, seat),
    -- Besides, each claim so takes a share of the event's row: who locks that row `for update` waits for the claims in flight.
    constraint claims_event_id_capacity_fkey foreign key (event_id, capacity) references booking.events (id, capacity),
    -- And there are no seats but the event's.
    constraint claims_seat_check check (seat between 1 and capacity)
);
