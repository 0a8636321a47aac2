"""A dashboard of Grafana, panel by panel. In a query, $sel stands for the labels that the variables select."""

import json

from .queries import GOOD

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
SELECT = 'namespace="$namespace", service=~"$service", pod=~"$pod"'
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
                # The stores' exporters are processes too, and no replicas: a replica says whether it is ready.
                moment("Replica started", "A replica's process began: a rollout, a scale, a kill", "blue",
                       'process_start_time_seconds{namespace="$namespace"} * 1000 and on (namespace, pod) service_ready', "{{pod}}"),
                moment("Redis started", "A Redis began anew; the cache's is empty then", "purple",
                       'redis_start_time_seconds{namespace="$namespace"} * 1000', "{{pod}}"),
                span("Lab", "What the lab is breaking at that time, and of whom", "red",
                     'lab_fault_active{namespace="$namespace"} == 1', "{{fault}} {{target}}", "fault,target"),
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
    return {**span(name, description, color, expression, text, "service,node"), "useValueForTime": "on"}


def span(name, description, color, expression, text, tags):
    """An annotation for as long as the query has a result."""
    return {
        "name": name, "description": description, "datasource": SOURCE, "enable": True, "hide": False, "iconColor": color,
        "expr": expression, "titleFormat": name, "textFormat": text, "tagKeys": tags, "useValueForTime": False, "step": "15s",
    }
