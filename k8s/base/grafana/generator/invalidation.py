"""The row about how the shop's cache learns of changes: by each of its strategies, and by the worker of one."""

from .queries import BAD, R, STALE, UP, quantiles, rate

# Of the worker: it reads nothing through the cache, so that the dashboard's variables do not know it.
WORKER = 'namespace="$namespace"'
# The relay that leads: one that has led keeps what it last saw.
LEADING = "and on (pod) outbox_events_leading{$sel} == 1"


def row(d):
    """Adds the row to a dashboard."""
    d.row("Invalidation, of services whose cache is told of changes")
    d.lines("How old a read may be (p99)", "event: from the write to the worker's last confirmed deletion; applied: what explicit, write-through, tags and combined have from "
            "COMMIT to the last invalidation, and nothing after it; pending: the oldest write that is not applied yet. docs/runbooks/events-late.md.",
            [(f"histogram_quantile(0.99, sum by (le) (rate(shop_worker_event_delay_seconds_bucket{{{WORKER}}}{R})))", "event"),
             (f"histogram_quantile(0.99, sum by (le) (rate(cache_apply_duration_seconds_bucket{{$sel}}{R})))", "applied"),
             ("max(outbox_unapplied_age_seconds{$sel})", "pending")], "s", log=True, steps=((None, "transparent"), (2.5, BAD)))
    d.lines("Old answers by strategy", "Share of reads that were answered with what is known to be old while it is refreshed: the nature of swr, the last resort of combined.",
            [(f"{rate('cache_reads_total', 'policy', STALE)} / {rate('cache_reads_total', 'policy')}", "{{policy}}")], "percentunit", high=1)
    d.lines("Writes by strategy and how they ended", "applied: every read from now on sees it; deferred: left to a TTL or an event, as the strategy is; pending: the relay will see to it; "
            "unknown: the COMMIT was not answered.", [(rate("shop_writes_total", "strategy, outcome"), "{{strategy}} {{outcome}}")], "reqps", stack=True)
    d.lines("Worker: behind by", "Age of the oldest event that the leader knows of and has not applied. docs/runbooks/events-late.md.",
            [(f"max(shop_worker_lag_seconds{{{WORKER}}})", "age")], "s", steps=((None, "transparent"), (5, BAD)))
    d.lines("Outbox: events that wait", "unnumbered: for the relay; unapplied: for the worker. Hills come from bulk work; a line that climbs stands still.",
            [(f"max(outbox_events_pending{{$sel}} {LEADING})", "unnumbered"), (f"max(outbox_events_reader_lag{{$sel}} {LEADING})", "unapplied")], "short")
    d.lines("Events", "Numbered and published by the relay, applied by the worker. Published less than numbered: Redis was away, and the table has them.",
            [(f"sum(rate(outbox_events_numbered_total{{$sel}}{R}))", "numbered"), (f"sum(rate(outbox_events_published_total{{$sel}}{R}))", "published"),
             (f"sum(rate(shop_worker_events_applied_total{{{WORKER}}}{R}))", "applied")], "reqps")
    d.lines("Gaps", "Noticed by the next number, by a heartbeat, or because the connection was lost or silent; repaired from the table. As many of the one as of the other, or "
            "docs/runbooks/events-missed.md.",
            [(f"sum by (how) (increase(shop_worker_gaps_noticed_total{{{WORKER}}}{R}))", "noticed {{how}}"),
             (f"sum by (how) (increase(shop_worker_gaps_repaired_total{{{WORKER}}}{R}))", "repaired {{how}}")], "short")
    d.lines("Kept aside", "Events and messages that this release does not understand. docs/runbooks/events-kept-aside.md.",
            [(f"sum by (what, reason) (increase(shop_worker_kept_aside_total{{{WORKER}}}{R}))", "{{what}} {{reason}}")], "short")
    d.lines("Passed over", "skipped: gap repair is switched off; lost: pruned before any worker applied them. Both must be 0. docs/runbooks/events-missed.md.",
            [(f"sum(increase(shop_worker_events_skipped_total{{{WORKER}}}{R}))", "skipped"), (f"sum(increase(shop_worker_events_lost_total{{{WORKER}}}{R}))", "lost")], "short")
    d.lines("Time until an event is numbered (p99)", "From its insert, the writer's COMMIT included. The relay looks every 15 ms, and is woken by writers of its own process.",
            quantiles("outbox_event_delay_seconds", shares=(0.5, 0.99)), "s", log=True)
    d.states("Which worker leads", "One, always; the others stand by. None: docs/runbooks/events-stand-still.md.", f"shop_worker_leader{{{WORKER}}}", "{{pod}}", UP)
    d.states("Which relay leads", "One of the API's replicas numbers and publishes. None: docs/runbooks/events-stand-still.md.", "outbox_events_leading{$sel}", "{{pod}}", UP)
