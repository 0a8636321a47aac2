"""What the cache spares the database, and whether it may be believed."""

from . import invalidation
from .dashboard import Dashboard
from .queries import BAD, BREAKER, FAIR, GOOD, HITS, R, REFUSED, UP, ZERO_IS_GOOD, quantiles, rate, total


def build():
    """The dashboard."""
    d = Dashboard("rirb-cache", "Cache", "What the cache spares the database, and whether it may be believed.", "cache_reads_total")

    d.row("At a glance")
    d.stat("Hit ratio", "Share of reads that cost the database nothing: hits, stale and negative ones. Below 80 %: look at evictions "
           "(Memory), at the time to live, and at how many writes there are. 0 with an open breaker: Redis is away.",
           f"{total('cache_reads_total', HITS)} / {total('cache_reads_total')}", "percentunit",
           steps=((None, BAD), (0.5, FAIR), (0.8, GOOD)), decimals=1)
    d.stat("Reads", "Reads through the cache, of all replicas that are selected.", total("cache_reads_total"), "reqps", decimals=0)
    d.stat("Loads", "What is left for PostgreSQL. It must stay far below the reads, also when an entry expires.",
           total("cache_loads_total"), "reqps", decimals=1)
    d.stat("Stampedes avoided", "Reads that waited for another's load of the same entry and did not load it themselves: without the "
           "leases each of them would be a query.", total("cache_reads_total", 'outcome="coalesced"'), "reqps", decimals=1)
    d.stat("Believed", "Whether every replica trusts its connection to Redis. 'no' for longer than a second: docs/runbooks/cache-not-trusted.md.",
           "min(cache_trusted{$sel})", steps=((None, BAD), (1, GOOD)), mappings=UP)
    d.stat("Breaker", "The worst replica's. Open: Redis does not answer in time, and reads go past it without waiting. "
           "docs/runbooks/cache-breaker-open.md.", "max(cache_breaker_state{$sel})",
           steps=((None, GOOD), (1, FAIR), (2, BAD)), mappings=BREAKER)
    d.stat("Oldest invalidation", "Age of the oldest committed write whose invalidation is not confirmed. Over a few seconds the relay does "
           "not get through: docs/runbooks/outbox-grows.md.", "max(outbox_unapplied_age_seconds{$sel})", "s",
           steps=((None, GOOD), (5, FAIR), (15, BAD)), decimals=1)
    d.stat("Reads refused", "Reads past the cache that found the gate to the database full, and got 503. Must be 0.",
           total("cache_gate_refused_total"), "reqps", steps=ZERO_IS_GOOD, decimals=1)

    d.row("Reads")
    d.lines("Hit ratio", "Each replica and all together. Replicas differ only while one of them is cut off.",
            [(f"{rate('cache_reads_total', 'pod', HITS)} / {rate('cache_reads_total', 'pod')}", "{{pod}}"),
             (f"{total('cache_reads_total', HITS)} / {total('cache_reads_total')}", "all")],
            "percentunit", high=1, steps=((None, "transparent"), (0.8, GOOD)))
    d.lines("Reads by how they were answered", "near_hit: from the replica's own memory; hit: from Redis; stale: older, while it is loaded anew; negative: known not to exist; miss: loaded; "
            "coalesced: another's load; bypass: past the cache. Many bypasses: Redis is away, or the replica does not trust it.",
            [(rate("cache_reads_total", "outcome"), "{{outcome}}")], "reqps", stack=True)
    d.lines("Latency of reads (p99)", "By how they were answered. A hit is one round trip to Redis; a miss is the query and two more; who is coalesced "
            "waits at most as long as who loads. Hits above 5 ms: Redis or the replica has too little CPU.",
            quantiles("cache_read_duration_seconds", "outcome", shares=(0.99,), legend="{{outcome}}"), "s", log=True)
    d.lines("Hit ratio by policy", "What kind of document is missed. Lists are invalidated by every write to a post that they show, so theirs is "
            "the first to fall.", [(f"{rate('cache_reads_total', 'policy', HITS)} / {rate('cache_reads_total', 'policy')}", "{{policy}}")],
            "percentunit", high=1)
    d.lines("Latency of reads, all outcomes", "What a client feels of it: the median is a hit, the tail is misses.",
            quantiles("cache_read_duration_seconds", shares=(0.5, 0.9, 0.99)), "s", log=True)
    d.lines("Reads by replica", "A replica that gets none is not ready, or keeps no connection of its clients.",
            [(rate("cache_reads_total", "pod"), "{{pod}}")], "reqps")

    d.row("Loads and fills")
    d.lines("Loads by result", "What PostgreSQL was asked for. timeout: a query took longer than its deadline.",
            [(rate("cache_loads_total", "result"), "{{result}}")], "reqps", stack=True)
    d.lines("Time of a load (p99)", "By policy. It is the price of a miss, and what the early refresh reckons with.",
            quantiles("cache_load_duration_seconds", "policy", shares=(0.99,), legend="{{policy}}"), "s", log=True)
    d.lines("Leases", "granted: may load and fill; held: another is at it, so wait for it; changed: somebody stored meanwhile, so read again. "
            "held beside granted is how many came at once.", [(rate("cache_leases_total", "result"), "{{result}}")], "reqps", stack=True)
    d.lines("Fills by result", "refused: something was invalidated while the load ran, so what it read may be old and is not stored. This is the stale "
            "entry that another cache would have kept. epoch_changed: the same for a tag.",
            [(rate("cache_fills_total", "result"), "{{result}}")], "reqps", stack=True)
    d.lines("Share of fills refused", "Grows with the writes per read. Above a third, the entry changes nearly as often as it is read, and caching it gains little.",
            [(f"{rate('cache_fills_total', 'policy', REFUSED)} / {rate('cache_fills_total', 'policy')}", "{{policy}}")],
            "percentunit", high=1)
    d.lines("Background refreshes", "early: begun before the end, by chance, so that not all expire at once; stale: begun by a read that was given the old value.",
            [(rate("cache_refreshes_total", "reason"), "{{reason}}")], "reqps")

    d.row("Writes and the outbox")
    d.lines("Writes by how they ended", "applied: every read from now on sees it; pending: committed, and the relay will see to it; unknown: the COMMIT was "
            "not answered; deferred: a replica without a cache. pending means that Redis was slow or away.",
            [(rate("cache_writes_total", "outcome"), "{{outcome}}")], "reqps", stack=True)
    d.lines("From COMMIT to the last invalidation", "What a writer waits for beside its transaction, and how long a reader may still see the old version.",
            quantiles("cache_apply_duration_seconds"), "s", log=True)
    d.lines("Puts by result", "stored: the writer's own value is in the cache; newer: another's is newer; killed: what was there could not be compared, so it went.",
            [(rate("cache_puts_total", "result"), "{{result}}")], "reqps", stack=True)
    d.lines("Outbox: rows not applied", "Writes in progress and those that wait for the relay. A line that climbs: Redis is away, or the relay fails.",
            [("max by (service) (outbox_unapplied{$sel})", "{{service}}")], "short")
    d.lines("Outbox: age of the oldest", "A second belongs to the writer, then the relay takes over.",
            [("max by (service) (outbox_unapplied_age_seconds{$sel})", "{{service}}")], "s", steps=((None, "transparent"), (15, BAD)))
    d.lines("Outbox: who applied", "marked: the writer itself, nearly always; relayed: the relay, after a writer died or Redis was away; dropped: marks that found no "
            "place, whose rows the relay repeats.",
            [(total("outbox_marked_total"), "marked"), (total("outbox_relayed_total"), "relayed"), (total("outbox_mark_dropped_total"), "dropped")], "reqps")
    d.lines("Relay: failed tries", "invalidation: Redis; database: PostgreSQL.", [(rate("outbox_relay_errors_total", "reason"), "{{reason}}")], "reqps")
    d.lines("Relay: time of a batch", "From BEGIN to COMMIT. The rows are locked meanwhile.", quantiles("outbox_relay_duration_seconds"), "s", log=True)
    d.lines("Commits in doubt", "COMMITs whose answer was lost; each was looked into, and answered by what was found.",
            [(f"increase(outbox_commits_in_doubt_total{{$sel}}{R})", "{{pod}}")], "short")

    invalidation.row(d)

    d.row("Redis away")
    d.states("Breaker", "Open while Redis does not answer in time. One replica alone: its node or its connection; all of them: Redis.",
             "cache_breaker_state{$sel}", "{{pod}}", BREAKER)
    d.states("Believed", "A replica believes its cache only after everything that Redis may have missed has been repeated to it. A short 'no' after each lost "
             "connection is how it should be.", "cache_trusted{$sel}", "{{pod}}", UP)
    d.lines("Connections lost, names repeated", "After a lost connection the invalidations that it may have missed are repeated.",
            [(f"sum(increase(cache_connections_lost_total{{$sel}}{R}))", "lost"), (f"sum(increase(cache_replayed_names_total{{$sel}}{R}))", "repeated")], "short")
    d.lines("The gate: loads past the cache", "How many at once go to PostgreSQL while the cache is away; the gate keeps them below the pool.",
            [("sum by (pod) (cache_gate_loads{$sel})", "{{pod}}")], "short")
    d.lines("The gate: queue", "Distinct entries that wait. When it is full, reads are refused: docs/runbooks/cache-gate-refuses.md.",
            [("sum by (pod) (cache_gate_queue{$sel})", "{{pod}}")], "short")
    d.lines("Entries that could not be read", "Of another version of the program, or damaged: loaded anew, each. Only during a rollout that changes the format.",
            [(rate("cache_undecodable_total", "policy"), "{{policy}}")], "reqps")

    d.row("Near cache, of services that have one")
    d.states("Believed", "A replica believes what it has in its own memory only while Redis proves it current. A short 'no' after each flush is how it should be.",
             "cache_near_proved{$sel}", "{{pod}}", UP)
    d.lines("Memory", "Of what is near, by replica. It stays below what the service's settings allow.", [("cache_near_bytes{$sel}", "{{pod}}")], "bytes")
    d.lines("Entries", "Values and epochs of tags, by replica.", [("cache_near_entries{$sel}", "{{pod}}")], "short")
    d.lines("Replies of Redis on their way in", "kept; overtaken: an invalidation came first, so it is not kept; too_large: would take too much of the room.",
            [(rate("cache_near_replies_total", "result"), "{{result}}")], "reqps", stack=True)
    d.lines("Removed", "push: Redis said that it has changed; write: this replica changed it itself.",
            [(rate("cache_near_removed_total", "source"), "{{source}}")], "reqps", stack=True)
    d.lines("Flushed", "Everything at once: connection: it was lost; lagged: this process dropped pushes; canary: Redis was emptied; silent: Redis does "
            "not push any more.", [(f"sum by (reason) (increase(cache_near_flushes_total{{$sel}}{R}))", "{{reason}}")], "short")
    d.lines("Older than what was seen", "Answers that were older than what the reader had seen before, and were not given to it.",
            [(rate("cache_behind_total", "tier"), "{{tier}}")], "reqps")

    d.row("Memory")
    redis = 'namespace="$namespace", service="redis-cache"'
    d.lines("Memory of the cache's Redis", "At the limit it evicts by frequency: that is no fault, but the hit ratio says what it costs.",
            [(f"redis_memory_used_bytes{{{redis}}}", "used"), (f"redis_memory_max_bytes{{{redis}}}", "limit")], "bytes")
    d.lines("Entries", "Keys in Redis: entries, leases under way, and epochs of tags.", [(f"sum by (db) (redis_db_keys{{{redis}}})", "{{db}}")], "short")
    d.lines("Evicted, expired", "Evicted: no room. Expired: old. Many evictions and a falling hit ratio: more memory.",
            [(f"rate(redis_evicted_keys_total{{{redis}}}{R})", "evicted"), (f"rate(redis_expired_keys_total{{{redis}}}{R})", "expired")], "reqps")
    d.lines("Memory of the replicas", "Resident, each. Steady under steady load.", [("process_resident_memory_bytes{$sel}", "{{pod}}")], "bytes")
    d.lines("Commands per read", "Round trips to Redis for each read: near 1 when all are hits, 3 for a miss.",
            [(f"sum(rate(redis_commands_total{{{redis}, cmd=~\"get|evalsha|eval|del|set\"}}{R})) / {total('cache_reads_total')}", "commands")], "short")
    d.lines("Time of commands in Redis", "What Redis itself takes, without network and queue.",
            [(f"sum by (cmd) (rate(redis_commands_duration_seconds_total{{{redis}, cmd=~\"get|evalsha|del\"}}{R})) / "
              f"sum by (cmd) (rate(redis_commands_total{{{redis}, cmd=~\"get|evalsha|del\"}}{R}))", "{{cmd}}")], "s")
    return d
