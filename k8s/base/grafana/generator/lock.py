"""Who waits for whom, and what must never come of it."""

from .dashboard import Dashboard
from .queries import BAD, FAIR, GOOD, R, TIMEOUT, ZERO_IS_GOOD, quantiles, rate, total


def build():
    """The dashboard."""
    d = Dashboard("rirb-lock", "Lock", "Who waits for whom, and what must never come of it.", "lock_waiters")
    by = "backend"

    d.row("At a glance")
    d.stat("Oversold seats", "Seats sold beyond the capacity, all strategies. Only `none`, `redis` and `redlock` may ever do that, and they are here to be seen "
           "doing it. Anything else: docs/runbooks/oversold.md.", 'sum(max by (strategy) (booking_oversold_seats{$sel}))', "short",
           steps=ZERO_IS_GOOD, w=6, decimals=0)
    d.stat("Refused by the schema", "Bookings that only a constraint of the table kept from overselling, in the last hour. Not one is right: "
           "docs/runbooks/schema-refused-booking.md.", "sum(increase(booking_schema_refusals_total{$sel}[1h]))", steps=ZERO_IS_GOOD, decimals=0)
    d.stat("Fences refused", "Late writers that PostgreSQL turned away in the last five minutes: each of them would have been a lost update. Many: "
           "docs/runbooks/lock-fence-refusals.md.", "sum(increase(lock_fence_refusals_total{$sel}[5m]))", steps=((None, GOOD), (1, FAIR)), decimals=0)
    d.stat("Locks lost", "Holders that lost their lock while they worked, in the last five minutes. They begin again from the start.",
           "sum(increase(lock_lost_total{$sel}[5m]))", steps=((None, GOOD), (1, FAIR)), decimals=0)
    d.stat("Waiting now", "Callers inside of an acquisition.", "sum(lock_waiters{$sel})", decimals=0)
    d.stat("Gave up", "Share of acquisitions that ended at their deadline. Above 5 %: docs/runbooks/lock-starvation.md.",
           f"({total('lock_acquire_duration_seconds_count', TIMEOUT)} or vector(0)) / {total('lock_acquire_duration_seconds_count')}",
           "percentunit", steps=((None, GOOD), (0.01, FAIR), (0.05, BAD)), decimals=1)
    d.stat("Booked", "Bookings made, by all replicas that are selected.", total("bookings_total", 'outcome="booked"'), "reqps", decimals=1)

    d.row("Bookings")
    d.bars("Oversold seats by strategy", "The unsafe ones may show some; for the others any bar is a fault.",
           "max by (strategy) (booking_oversold_seats{$sel})", "{{strategy}}", steps=ZERO_IS_GOOD)
    d.lines("Bookings by how they ended", "sold_out is an answer, not a fault; locked: the lock was not had in time; in_doubt: COMMIT was not answered and could not be settled.",
            [(rate("bookings_total", "outcome"), "{{outcome}}")], "reqps", stack=True)
    d.lines("Booked by strategy", "The same load under another strategy is another rate: that is what it costs.",
            [(rate("bookings_total", "strategy", 'outcome="booked"'), "{{strategy}}")], "reqps")
    d.lines("Time of a booking (p50)", "The wait for the lock and the payment included.",
            quantiles("booking_duration_seconds", "strategy", shares=(0.5,), legend="{{strategy}}"), "s", log=True)
    d.lines("Time of a booking (p99)", "The tail is the end of the queue: it grows with the number of buyers of one event, and with the payment.",
            quantiles("booking_duration_seconds", "strategy", shares=(0.99,), legend="{{strategy}}"), "s", log=True)
    d.lines("Begun again", "Sections whose lock was lost, and that were begun again from their start.", [(rate("booking_restarts_total", "strategy"), "{{strategy}}")], "reqps")

    d.row("Waiting")
    d.lines("Wait for the lock (p50)", "From the call to the grant, of those who got it.",
            quantiles("lock_acquire_duration_seconds", by, 'outcome="acquired"', (0.5,), "{{backend}}"), "s", log=True)
    d.lines("Wait for the lock (p99)", "A fair queue has a p99 near its length times the hold; a lock by asking again (`redis`, `redlock`) has a longer tail.",
            quantiles("lock_acquire_duration_seconds", by, 'outcome="acquired"', (0.99,), "{{backend}}"), "s", log=True)
    d.lines("Wait for the lock by replica (p99)", "All replicas should wait alike. One that waits longer loses its wake-ups, and finds its grants by asking.",
            quantiles("lock_acquire_duration_seconds", "pod", 'outcome="acquired"', (0.99,), "{{pod}}"), "s", log=True)
    d.lines("Acquisitions by how they ended", "timeout: at the deadline; backend: the store failed; cancelled: the caller went away.",
            [(rate("lock_acquire_duration_seconds_count", "outcome"), "{{outcome}}")], "reqps", stack=True)
    d.lines("Waiters", "By replica. Grows when the sections take longer than buyers come.", [("sum by (pod) (lock_waiters{$sel})", "{{pod}}")], "short", stack=True)
    d.lines("Waiters by lock", "By backend.", [("sum by (backend) (lock_waiters{$sel})", "{{backend}}")], "short", stack=True)

    d.row("Holding and handing over")
    d.lines("Hold (p50)", "From the grant to the release or the loss: one over this is the most that one event can sell in a second.",
            quantiles("lock_hold_duration_seconds", by, shares=(0.5,), legend="{{backend}}"), "s", log=True)
    d.lines("Hold (p99)", "Above the first lease, holders that are not renewed are lost.",
            quantiles("lock_hold_duration_seconds", by, shares=(0.99,), legend="{{backend}}"), "s", log=True)
    d.lines("Hand-offs by their way", "reply: to a waiter of the same process; push: to another one's; poll: found by asking, because a wake-up was lost. "
            "Many polls: the connection for pushes is bad.", [(rate("lock_handoffs_total", "path"), "{{path}}")], "reqps", stack=True)
    d.lines("Renewals", "refused: the lock was somebody else's by then; error: the store did not answer.", [(rate("lock_extensions_total", "result"), "{{result}}")], "reqps", stack=True)
    d.lines("Grants refused", "expired: came too late to be believed; stray: for a waiter that is gone.", [(rate("lock_grants_refused_total", "reason"), "{{reason}}")], "reqps")
    d.lines("Locks lost", "By replica. A replica that is paused, or cut off from Redis for longer than its lease.",
            [(f"sum by (pod) (increase(lock_lost_total{{$sel}}{R}))", "{{pod}}")], "short")

    d.row("Fences")
    d.lines("Fences refused", "enter: somebody newer has been there; guard: a write that was not entitled any more. This is PostgreSQL keeping late writers out.",
            [(f"sum by (backend, at) (increase(lock_fence_refusals_total{{$sel}}{R}))", "{{backend}} {{at}}")], "short")
    d.lines("Fences mended", "Redis had lost some, and its numbers were raised above PostgreSQL's again.",
            [(f"sum by (backend) (increase(lock_fences_mended_total{{$sel}}{R}))", "{{backend}}")], "short")
    d.lines("Connections to Redis lost", "Nobody is let in until it is back. docs/runbooks/lock-store-unsteady.md.",
            [(f"sum by (backend) (increase(lock_connections_lost_total{{$sel}}{R}))", "{{backend}}")], "short")

    d.row("Without a lock, and the locks' Redis")
    redis = 'namespace="$namespace", service="redis-lock"'
    d.lines("redis-reserve: leaks and conflicts", "leaked: a reservation that nobody claimed or gave back, found later; conflict: PostgreSQL refused the claim, so Redis had lost some.",
            [(f"sum(increase(booking_reservations_leaked_total{{$sel}}{R}))", "leaked"), (f"sum(increase(booking_reservation_conflicts_total{{$sel}}{R}))", "conflicts")], "short")
    d.lines("Commands to the locks' Redis", "Scripts, mostly: an uncontended lock is two of them.",
            [(f"sum by (cmd) (rate(redis_commands_total{{{redis}, cmd=~\"evalsha|eval|set|spublish|ping\"}}{R}))", "{{cmd}}")], "reqps", stack=True)
    d.lines("Memory of the locks' Redis", "It evicts nothing: at the limit nobody new gets a lock. docs/runbooks/redis-lock-memory-full.md.",
            [(f"redis_memory_used_bytes{{{redis}}}", "used"), (f"redis_memory_max_bytes{{{redis}}}", "limit")], "bytes")
    d.lines("Idempotency keys pruned", "Older than they are kept.", [(total("idempotency_keys_pruned_total"), "keys")], "reqps")
    d.lines("Size of the log (AOF)", "Written each second; rewritten when it has doubled.", [(f"redis_aof_current_size_bytes{{{redis}}}", "{{pod}}")], "bytes")
    d.lines("Channels of waiters", "One for each replica that waits on this Redis.", [(f"redis_pubsubshard_channels{{{redis}}}", "{{pod}}")], "short")
    return d
