"""Rate, errors and duration of each route, and what the replicas are made of."""

from .dashboard import Dashboard
from .queries import BAD, FAIR, FAULT, GOOD, R, UP, ZERO_IS_GOOD, quantiles, rate, total


def build():
    """The dashboard."""
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
