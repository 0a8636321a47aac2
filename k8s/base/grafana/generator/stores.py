"""PostgreSQL and both Redis, as their exporters see them."""

from .dashboard import Dashboard
from .queries import BAD, FAIR, GOOD, R, UP, ZERO_IS_GOOD, rate


def build():
    """The dashboard."""
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
            [(f'sum by (usename) (pg_stat_activity_count{{{pg}, usename=~"blog|booking|shop|lab|exporter"}})', "{{usename}}"), (f"max(pg_settings_max_connections{{{pg}}})", "most")],
            "short", stack=False)
    d.lines("Connections by state", "idle in transaction: somebody holds locks and does nothing. docs/runbooks/postgres-idle-in-transaction.md.",
            [(f'sum by (state) (pg_stat_activity_count{{{db}, state=~"active|idle|idle in transaction"}})', "{{state}}")], "short", stack=True)
    d.lines("Found in shared buffers", "Share of pages that were in PostgreSQL's own memory; the rest came from the page cache or the disk.",
            [(f"rate(pg_stat_database_blks_hit{{{db}}}{R}) / (rate(pg_stat_database_blks_hit{{{db}}}{R}) + rate(pg_stat_database_blks_read{{{db}}}{R}))", "found")],
            "percentunit", high=1)
    d.lines("Rows", "Read and written. fetched falls when the cache works.",
            [(f"rate(pg_stat_database_tup_{what}{{{db}}}{R})", what) for what in ("fetched", "inserted", "updated", "deleted")], "reqps", log=True)
    d.lines("Longest transaction", "By role.", [(f'max by (usename) (pg_stat_activity_max_tx_duration{{{pg}, usename=~"blog|booking|shop|lab|exporter"}})', "{{usename}}")], "s")
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
