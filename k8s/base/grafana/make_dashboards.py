#!/usr/bin/env python3
"""Writes dashboards/*.json: make_dashboards.py, or make_dashboards.py --check to see whether they are up to date.

A dashboard in JSON is a thousand lines of which thirty matter. Those are here: one call for each panel, with its queries, its unit,
and how to read it. In a query, $sel stands for the labels that the variables select.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
SELECT = 'namespace="$namespace", service=~"$service", pod=~"$pod"'
R = "[$__rate_interval]"
GOOD, FAIR, BAD = "green", "orange", "red"
WIDTH = 24


class Dashboard:
    """One dashboard; panels flow from left to right, and a row begins a new line."""

    def __init__(self, uid, title, description, exists, *, services=True, tags=()):
        self.panels, self.x, self.y, self.tall, self.next = [], 0, 0, 0, 1
        variables = [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}, "hide": 0},
            query_variable("namespace", "Namespace", f"label_values({exists}, namespace)"),
        ]
        if services:
            variables += [
                query_variable("service", "Service", f'label_values({exists}{{namespace="$namespace"}}, service)', many=True),
                query_variable(
                    "pod", "Replica", f'label_values({exists}{{namespace="$namespace", service=~"$service"}}, pod)', many=True
                ),
            ]
        self.document = {
            "uid": uid,
            "title": title,
            "description": description,
            "tags": ["redis-in-real-backends", *tags],
            "schemaVersion": 39,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "5s",
            "time": {"from": "now-15m", "to": "now"},
            "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m"]},
            "links": [
                {
                    "type": "dashboards", "tags": ["redis-in-real-backends"], "title": "Dashboards", "asDropdown": False,
                    "includeVars": True, "keepTime": True, "targetBlank": False, "icon": "external link", "url": "", "tooltip": "",
                }
            ],
            "annotations": {"list": [
                moment("Replica started", "A replica's process began: a rollout, a scale, a kill", "blue",
                       f'process_start_time_seconds{{namespace="$namespace", service=~"{SERVICES}"}} * 1000', "{{pod}}"),
                moment("Redis started", "A Redis began anew; the cache's is empty then", "purple",
                       'redis_start_time_seconds{namespace="$namespace"} * 1000', "{{pod}}"),
            ]},
            "templating": {"list": variables},
            "panels": self.panels,
        }

    def row(self, title):
        """Begins a line of panels with a heading."""
        self.y += self.tall
        self.x, self.tall = 0, 0
        self.panels.append(
            {"id": self.number(), "type": "row", "title": title, "collapsed": False, "panels": [],
             "gridPos": {"x": 0, "y": self.y, "w": WIDTH, "h": 1}}
        )
        self.y += 1

    def number(self):
        """The next panel's id."""
        self.next += 1
        return self.next - 1

    def panel(self, kind, title, description, queries, unit, *, w, h, steps=None, defaults=None, options=None):
        """One panel. queries: (expression, legend) each; steps: colours as ((None, colour), (from, colour), …)."""
        if self.x + w > WIDTH:
            self.x, self.y, self.tall = 0, self.y + self.tall, 0
        steps = steps or ((None, "text" if kind == "stat" else GOOD),)
        self.panels.append({
            "id": self.number(),
            "type": kind,
            "title": title,
            "description": description,
            "datasource": SOURCE,
            "gridPos": {"x": self.x, "y": self.y, "w": w, "h": h},
            "fieldConfig": {
                "defaults": {
                    "unit": unit,
                    "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]},
                    **(defaults or {}),
                },
                "overrides": [],
            },
            "options": options or {},
            "targets": [
                {
                    "refId": chr(ord("A") + index), "datasource": SOURCE, "expr": expression.replace("$sel", SELECT),
                    "legendFormat": legend, "editorMode": "code", "range": kind not in ("stat", "bargauge", "table"),
                    "instant": kind in ("stat", "bargauge", "table"),
                    **({"format": "table"} if kind == "table" else {}),
                }
                for index, (expression, legend) in enumerate(queries)
            ],
        })
        self.x += w
        self.tall = max(self.tall, h)

    def stat(self, title, description, expression, unit="short", *, steps=None, mappings=None, w=3, decimals=None):
        """One number."""
        defaults = {"mappings": mappings or [], "noValue": "none"}
        if decimals is not None:
            defaults["decimals"] = decimals
        self.panel(
            "stat", title, description, [(expression, "")], unit, w=w, h=4, steps=steps, defaults=defaults,
            options={
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "textMode": "value",
                "colorMode": "background" if steps and len(steps) > 1 else "value", "graphMode": "none", "justifyMode": "center",
            },
        )

    def bars(self, title, description, expression, legend, unit="short", *, steps=None, w=8, h=8):
        """One bar for each series."""
        self.panel(
            "bargauge", title, description, [(expression, legend)], unit, w=w, h=h, steps=steps, defaults={"min": 0},
            options={
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "displayMode": "basic",
                "orientation": "horizontal", "valueMode": "color", "showUnfilled": True, "namePlacement": "left", "minVizHeight": 16,
            },
        )

    def lines(self, title, description, queries, unit, *, stack=False, steps=None, w=8, h=8, log=False, low=0, high=None):
        """Lines over time."""
        custom = {
            "lineWidth": 1, "fillOpacity": 35 if stack else 8, "showPoints": "never", "spanNulls": False,
            "stacking": {"mode": "normal" if stack else "none", "group": "A"},
            "scaleDistribution": {"type": "log", "log": 10} if log else {"type": "linear"},
            "thresholdsStyle": {"mode": "line" if steps else "off"},
        }
        defaults = {"custom": custom, "color": {"mode": "palette-classic"}}
        if low is not None and not log:
            defaults["min"] = low
        if high is not None:
            defaults["max"] = high
        self.panel(
            "timeseries", title, description, queries, unit, w=w, h=h, steps=steps, defaults=defaults,
            options={
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
                "tooltip": {"mode": "multi", "sort": "desc"},
            },
        )

    def states(self, title, description, expression, legend, mappings, *, w=8, h=8):
        """A band for each series, coloured by what it was."""
        self.panel(
            "state-timeline", title, description, [(expression, legend)], "short", w=w, h=h,
            defaults={"mappings": mappings, "color": {"mode": "thresholds"}, "custom": {"fillOpacity": 80, "lineWidth": 0}},
            options={
                "showValue": "never", "mergeValues": True, "rowHeight": 0.8, "alignValue": "left",
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}, "tooltip": {"mode": "single"},
            },
        )

    def table(self, title, description, expression, hidden, *, w=8, h=8):
        """Labels in rows."""
        self.panel("table", title, description, [(expression, "")], "short", w=w, h=h, options={"showHeader": True, "cellHeight": "sm"})
        self.panels[-1]["transformations"] = [{"id": "organize", "options": {"excludeByName": dict.fromkeys(hidden, True)}}]

    def text(self):
        """The file's content."""
        return json.dumps(self.document, indent=1, ensure_ascii=False) + "\n"


SERVICES = "blog-api|booking-api"


def query_variable(name, label, query, many=False):
    """A variable whose values Prometheus has."""
    variable = {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "definition": query, "hide": 0,
        "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "multi": many, "includeAll": many, "current": {},
    }
    if many:
        # Not the list of those that there are now: a replica that comes is to be seen at once.
        variable.update(allValue=".+", current={"text": ["All"], "value": ["$__all"]})
    return variable


def moment(name, description, color, expression, text):
    """An annotation at the time that is the query's value, in milliseconds."""
    return {
        "name": name, "description": description, "datasource": SOURCE, "enable": True, "hide": False, "iconColor": color,
        "expr": expression, "titleFormat": name, "textFormat": text, "tagKeys": "service,node", "useValueForTime": "on", "step": "15s",
    }


def values(**named):
    """Texts and colours for values: _0=("closed", GOOD)."""
    options = {
        key.lstrip("_"): {"text": text, "color": color, "index": index} for index, (key, (text, color)) in enumerate(named.items())
    }
    return [{"type": "value", "options": options}]


def quantiles(metric, by="", where="", shares=(0.5, 0.99), legend=""):
    """Queries for quantiles of a histogram."""
    group = f"le, {by}" if by else "le"
    select = f"$sel, {where}" if where else "$sel"
    return [
        (f"histogram_quantile({share}, sum by ({group}) (rate({metric}_bucket{{{select}}}{R})))", f"p{share * 100:g} {legend}".strip())
        for share in shares
    ]


def rate(metric, by, where=""):
    """A rate by labels."""
    select = f"$sel, {where}" if where else "$sel"
    return f"sum by ({by}) (rate({metric}{{{select}}}{R}))"


def total(metric, where=""):
    """A rate of everything."""
    select = f"$sel, {where}" if where else "$sel"
    return f"sum(rate({metric}{{{select}}}{R}))"


HITS = 'outcome=~"hit|stale|negative"'
REFUSED = 'result=~"refused|epoch_changed"'
TIMEOUT = 'outcome="timeout"'
FAULT = 'status=~"5.."'
UP = values(_0=("no", BAD), _1=("yes", GOOD))
BREAKER = values(_0=("closed", GOOD), _1=("half-open", FAIR), _2=("open", BAD))
ZERO_IS_GOOD = ((None, GOOD), (0.001, BAD))


def cache():
    """What the cache spares the database, and whether it may be believed."""
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
    d.lines("Reads by how they were answered", "hit: from Redis; stale: older, while it is loaded anew; negative: known not to exist; miss: loaded; "
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


def lock():
    """Who waits for whom, and what must never come of it."""
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
           f"{total('lock_acquire_duration_seconds_count', TIMEOUT)} / {total('lock_acquire_duration_seconds_count')}",
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


def service():
    """Rate, errors and duration of each route, and what the replicas are made of."""
    d = Dashboard("rirb-service", "Service", "Rate, errors and duration of each route, and how the replicas are.", "service_ready")

    d.row("At a glance")
    d.stat("Ready replicas", "Replicas that want requests.", "sum(service_ready{$sel})", steps=((None, BAD), (1, FAIR), (2, GOOD)), decimals=0)
    d.stat("Requests", "Answered, each second.", total("http_requests_total"), "reqps", decimals=0)
    d.stat("Errors", "Share of 5xx. The objective is 0.1 % over three days: docs/runbooks/availability-budget-burn.md.",
           f"({total('http_requests_total', FAULT)} or vector(0)) / {total('http_requests_total')}", "percentunit",
           steps=((None, GOOD), (0.001, FAIR), (0.0144, BAD)), decimals=2)
    d.stat("p99", "Of all answers. Of a blog it is misses, of booking the queue for a lock.", quantiles("http_request_duration_seconds", shares=(0.99,))[0][0], "s",
           steps=((None, GOOD), (0.25, FAIR), (1, BAD)))
    d.stat("In flight", "Requests that are being handled.", "sum(http_requests_in_flight{$sel})", decimals=0)
    d.stat("Pool in use", "The fullest replica's share of connections to PostgreSQL. Near 1, requests wait: docs/runbooks/database-pool-exhausted.md.",
           'max(db_pool_connections{$sel, state="used"} / on (namespace, pod, pool) group_left () max by (namespace, pod, pool) (db_pool_connections_max{$sel}))',
           "percentunit", steps=((None, GOOD), (0.7, FAIR), (0.9, BAD)), decimals=0)
    d.stat("Panics", "Handlers that panicked in the last ten minutes. Not one is right: docs/runbooks/handler-panics.md.",
           "sum(increase(http_handler_panics_total{$sel}[10m]))", steps=ZERO_IS_GOOD, decimals=0)
    d.stat("Starts", "Replicas that began within the last ten minutes: a rollout, a scale, or crashes.",
           "count((time() - process_start_time_seconds{$sel}) < 600) or vector(0)", decimals=0)

    d.row("Requests")
    d.lines("Rate by route", "Answers a second.", [(rate("http_requests_total", "service, method, route"), "{{method}} {{route}}")], "reqps", stack=True)
    d.lines("Rate by status", "499: the client hung up first. 423 and 409 are booking's answers, not faults.",
            [(rate("http_requests_total", "status"), "{{status}}")], "reqps", stack=True)
    d.lines("Share of errors by service", "5xx of all answers, over five minutes. The line is where the budget of three days is gone in five hours.",
            [('service:http_errors:ratio_rate5m{namespace="$namespace", service=~"$service"}', "{{service}}")], "percentunit",
            steps=((None, "transparent"), (0.0144, BAD)))
    d.lines("Duration by route (p50)", "To the head of the answer.", quantiles("http_request_duration_seconds", "method, route", shares=(0.5,), legend="{{method}} {{route}}"), "s", log=True)
    d.lines("Duration by route (p99)", "The objective for reads is a quarter of a second: docs/runbooks/latency-budget-burn.md.",
            quantiles("http_request_duration_seconds", "method, route", shares=(0.99,), legend="{{method}} {{route}}"), "s", log=True)
    d.lines("Duration by replica (p99)", "One that stands out has a busy node.", quantiles("http_request_duration_seconds", "pod", shares=(0.99,), legend="{{pod}}"), "s", log=True)
    d.lines("Rate by replica", "Even, if clients open connections now and then: a connection stays with its replica.",
            [(rate("http_requests_total", "pod"), "{{pod}}")], "reqps", stack=True)
    d.lines("Reads slower than 250 ms", "Share of all reads, over five minutes. The line is where the budget of three days is gone in five hours.",
            [('service:http_slow_reads:ratio_rate5m{namespace="$namespace", service=~"$service"}', "{{service}}")], "percentunit",
            steps=((None, "transparent"), (0.144, BAD)))
    d.lines("Given up", "Handlers that took longer than a request may, and those that panicked, by route.",
            [(f"sum by (route) (increase(http_handler_timeouts_total{{$sel}}{R}))", "timeout {{route}}"),
             (f"sum by (route) (increase(http_handler_panics_total{{$sel}}{R}))", "panic {{route}}")], "short")

    d.row("Saturation")
    d.lines("Connections to PostgreSQL in use", "By replica, of the most that its pool may have.",
            [('sum by (pod) (db_pool_connections{$sel, state="used"})', "{{pod}}"), ("max(db_pool_connections_max{$sel})", "most")], "short")
    d.lines("Requests in flight", "By replica.", [("sum by (pod) (http_requests_in_flight{$sel})", "{{pod}}")], "short")
    d.lines("Open connections", "Of clients, by replica.", [("sum by (pod) (http_connections{$sel})", "{{pod}}")], "short")
    d.lines("Tasks", "Alive in the runtime, by replica. They grow with requests and background work, and fall again.", [("tokio_alive_tasks{$sel}", "{{pod}}")], "short")
    d.lines("Queue of the runtime", "Tasks that wait for a worker. Above some tens for long: the CPU is the limit.", [("tokio_global_queue_depth{$sel}", "{{pod}}")], "short")
    d.lines("CPU", "Cores in use, by replica.", [(f"rate(process_cpu_seconds_total{{$sel}}{R})", "{{pod}}")], "short")
    d.lines("Memory", "Resident, by replica. The chart's limit is 128 MiB.", [("process_resident_memory_bytes{$sel}", "{{pod}}")], "bytes")
    d.lines("File descriptors", "Open, by replica, of the most that it may have.",
            [("process_open_fds{$sel}", "{{pod}}"), ("min(process_max_fds{$sel})", "most")], "short", log=True)
    d.lines("Worker threads", "Of the runtime: the CPUs that the replica sees.", [("tokio_workers{$sel}", "{{pod}}")], "short")

    d.row("Replicas")
    d.states("Ready", "Whether the replica wants requests. docs/runbooks/replica-not-ready.md.", "service_ready{$sel}", "{{pod}}", UP)
    d.states("Checks", "postgres and migrations decide about readiness; redis and replay are only reported, since reads go on without them.",
             "service_check_up{$sel}", "{{pod}} {{check}}", UP)
    d.lines("Age", "Since the process began. A saw is a crash loop: docs/runbooks/replica-restarts.md.", [("time() - process_start_time_seconds{$sel}", "{{pod}}")], "s")
    d.lines("Replicas that answer Prometheus", "By service.", [('count by (service) (up{$sel} == 1)', "{{service}}")], "short")
    d.table("What runs", "Two versions at once: a rollout is under way, or stands still.",
            "max by (service, pod, node, version) (build_info{$sel})", ["Time", "Value"], w=16)
    return d


def stores():
    """PostgreSQL and both Redis, as their exporters see them."""
    d = Dashboard("rirb-stores", "Stores", "PostgreSQL and both Redis, as their exporters see them.", "pg_up", services=False)
    pg, db = 'namespace="$namespace"', 'namespace="$namespace", datname="backends"'
    redis = 'namespace="$namespace", service=~"redis-.+"'

    d.row("At a glance")
    d.stat("PostgreSQL", "Whether it answers its exporter. docs/runbooks/store-down.md.", f"max(pg_up{{{pg}}})", steps=((None, BAD), (1, GOOD)), mappings=UP)
    for name, title in (("redis-cache", "Cache's Redis"), ("redis-lock", "Locks' Redis")):
        d.stat(title, "Whether it answers its exporter. docs/runbooks/store-down.md.", f'max(redis_up{{{pg}, service="{name}"}})',
               steps=((None, BAD), (1, GOOD)), mappings=UP)
    d.stat("Connections", "Share of PostgreSQL's max_connections. Above 80 %: docs/runbooks/postgres-connections-run-out.md.", f"max(postgres:connections:ratio{{{pg}}})",
           "percentunit", steps=((None, GOOD), (0.6, FAIR), (0.8, BAD)), decimals=0)
    d.stat("Cache's memory", "Share of its limit. At 100 % it evicts, which is no fault.", f'max(redis:memory:ratio{{{pg}, service="redis-cache"}})', "percentunit", decimals=0)
    d.stat("Locks' memory", "Share of its limit, at which nobody gets a lock any more: docs/runbooks/redis-lock-memory-full.md.",
           f'max(redis:memory:ratio{{{pg}, service="redis-lock"}})', "percentunit", steps=((None, GOOD), (0.6, FAIR), (0.8, BAD)), decimals=0)
    d.stat("Deadlocks", "That PostgreSQL broke in the last ten minutes. docs/runbooks/postgres-deadlocks.md.", f"sum(increase(pg_stat_database_deadlocks{{{db}}}[10m]))",
           steps=ZERO_IS_GOOD, decimals=0)
    d.stat("Denied", "Commands, keys and channels that a user of Redis may not use, in the last ten minutes. docs/runbooks/redis-denies.md.",
           f"sum(increase(redis_acl_access_denied_cmd_total{{{redis}}}[10m])) + sum(increase(redis_acl_access_denied_key_total{{{redis}}}[10m]))"
           f" + sum(increase(redis_acl_access_denied_channel_total{{{redis}}}[10m]))", steps=ZERO_IS_GOOD, decimals=0)

    d.row("PostgreSQL")
    d.lines("Transactions", "Committed and rolled back. A read of the services is one statement, and so one transaction.",
            [(f"rate(pg_stat_database_xact_commit{{{db}}}{R})", "committed"), (f"rate(pg_stat_database_xact_rollback{{{db}}}{R})", "rolled back")], "reqps")
    d.lines("Connections by role", "Sessions of each service, watchers included.",
            [(f'sum by (usename) (pg_stat_activity_count{{{pg}, usename=~"blog|booking|lab|exporter"}})', "{{usename}}"), (f"max(pg_settings_max_connections{{{pg}}})", "most")],
            "short", stack=False)
    d.lines("Connections by state", "idle in transaction: somebody holds locks and does nothing. docs/runbooks/postgres-idle-in-transaction.md.",
            [(f'sum by (state) (pg_stat_activity_count{{{db}, state=~"active|idle|idle in transaction"}})', "{{state}}")], "short", stack=True)
    d.lines("Found in shared buffers", "Share of pages that were in PostgreSQL's own memory; the rest came from the page cache or the disk.",
            [(f"rate(pg_stat_database_blks_hit{{{db}}}{R}) / (rate(pg_stat_database_blks_hit{{{db}}}{R}) + rate(pg_stat_database_blks_read{{{db}}}{R}))", "found")],
            "percentunit", high=1)
    d.lines("Rows", "Read and written. fetched falls when the cache works.",
            [(f"rate(pg_stat_database_tup_{what}{{{db}}}{R})", what) for what in ("fetched", "inserted", "updated", "deleted")], "reqps", log=True)
    d.lines("Longest transaction", "By role.", [(f'max by (usename) (pg_stat_activity_max_tx_duration{{{pg}, usename=~"blog|booking|lab|exporter"}})', "{{usename}}")], "s")
    d.lines("Locks", "Held or waited for, by kind.", [(f"sum by (mode) (pg_locks_count{{{db}}})", "{{mode}}")], "short")
    d.lines("Size", "Of the database on its volume.", [(f"pg_database_size_bytes{{{db}}}", "{{datname}}")], "bytes")
    d.lines("Checkpoints", "Time spent on writing them. Long ones beside slow writes: the volume is the limit.",
            [(f"rate(pg_stat_checkpointer_write_time_total{{{pg}}}{R}) / 1000", "writing"), (f"rate(pg_stat_checkpointer_sync_time_total{{{pg}}}{R}) / 1000", "syncing")], "s")

    d.row("Redis")
    d.lines("Memory", "Used, of each. Only the cache may be at its limit.",
            [(f"redis_memory_used_bytes{{{redis}}}", "{{service}}"), (f"redis_memory_max_bytes{{{redis}}}", "{{service}} limit")], "bytes")
    d.lines("Commands", "A second, by store.", [(f"sum by (service) (rate(redis_commands_processed_total{{{redis}}}{R}))", "{{service}}")], "reqps")
    d.lines("Commands by kind", "Those that come most.", [(f"topk(8, sum by (service, cmd) (rate(redis_commands_total{{{redis}}}{R})))", "{{service}} {{cmd}}")], "reqps", stack=True)
    d.lines("Time in Redis", "Share of one core that commands take: Redis has one. Near 1, everybody waits.",
            [(f"sum by (service) (rate(redis_commands_duration_seconds_total{{{redis}}}{R}))", "{{service}}")], "percentunit")
    d.lines("Clients", "Connections. Each replica has two to the cache, and two to the locks.", [(f"redis_connected_clients{{{redis}}}", "{{service}}")], "short")
    d.lines("Hits and misses", "Of keys, as Redis counts them: a lease that is looked for counts as a miss too, so the Cache dashboard is the one to quote.",
            [(f"rate(redis_keyspace_hits_total{{{redis}}}{R})", "{{service}} hits"), (f"rate(redis_keyspace_misses_total{{{redis}}}{R})", "{{service}} misses")], "reqps")
    d.lines("Keys", "In each.", [(f"sum by (service) (redis_db_keys{{{redis}}})", "{{service}}")], "short")
    d.lines("Evicted", "Only ever by the cache.", [(f"rate(redis_evicted_keys_total{{{redis}}}{R})", "{{service}}")], "reqps")
    d.lines("Network", "Out of Redis, and into it.",
            [(f"rate(redis_net_output_bytes_total{{{redis}}}{R})", "{{service}} out"), (f"rate(redis_net_input_bytes_total{{{redis}}}{R})", "{{service}} in")], "Bps")
    d.lines("Denied", "What a user may not do. A service that does something new needs a line in its ACL; anything else is an intruder or a typing error.",
            [(f"increase(redis_acl_access_denied_{what}_total{{{redis}}}{R})", "{{service}} " + what) for what in ("cmd", "key", "channel", "auth")], "short")
    d.lines("Errors by kind", "NOSCRIPT after a restart is normal: the script is sent once more.", [(f"rate(redis_errors_total{{{redis}}}{R})", "{{service}} {{err}}")], "reqps")
    d.lines("Uptime", "A fall is a restart: the cache comes back empty, the locks from their log.", [(f"redis_uptime_in_seconds{{{redis}}}", "{{service}}")], "s")
    return d


def main():
    """Writes the files, or compares them."""
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    stale = []
    for name, build in (("cache", cache), ("lock", lock), ("service", service), ("stores", stores)):
        path, text = HERE / f"{name}.json", build().text()
        if check:
            if not path.exists() or path.read_text() != text:
                stale.append(path.name)
        else:
            path.write_text(text)
    if stale:
        sys.exit(f"not up to date: {', '.join(stale)}; run {pathlib.Path(__file__).name}")


if __name__ == "__main__":
    main()
