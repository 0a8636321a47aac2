#!/usr/bin/env bash
# Tests what watches the installed system: every target is scraped, and every query of every dashboard and rule returns data.
#
#   scripts/cluster/watching.sh [FOLDER]
#
# With a folder, the dashboards' queries are drawn there as well: one picture for each dashboard.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly namespace=${NAMESPACE:-backends}
say() { printf '%s\n' "$*"; }

say
say "-- the dashboards' queries and the rules, against the Prometheus that watched all of this"
lab=${CARGO_TARGET_DIR:-target}/release/lab
output=$(mktemp)
kubectl --namespace "$namespace" port-forward service/prometheus :9090 >"$output" 2>&1 &
forward=$!
used=$(mktemp)
trap 'kill "$forward" 2>/dev/null; rm -f "$output" "$used"' EXIT
# Panels are about what has happened within a minute, so the services are used meanwhile: by their own tests.
(while [[ -e $used ]]; do
    for chart in blog-api booking-api shop; do helm test "$chart" --namespace "$namespace" >/dev/null 2>&1 || true; done
done) &
using=$!
port=
for _ in {1..50}; do
    port=$(sed -n 's/^Forwarding from 127.0.0.1:\([0-9]*\).*/\1/p' "$output")
    [[ -z $port ]] || break
    sleep 0.1
done
[[ -n $port ]] || { say "FAILED: no port-forward to Prometheus: $(cat "$output")" >&2; exit 1; }
prometheus=http://127.0.0.1:$port

# Pods of experiments that have ended are no targets; whatever is one must answer, if not at each scrape of a busy machine.
for _ in {1..12}; do
    down=$(curl --silent --fail --get "$prometheus/api/v1/query" --data-urlencode 'query=up == 0' |
        python3 -c 'import json, sys; print(" ".join(r["metric"].get("pod", r["metric"].get("instance", "?")) for r in json.load(sys.stdin)["data"]["result"]))')
    [[ -n $down ]] || break
    sleep 5
done
[[ -z $down ]] || { say "FAILED: not scraped: $down" >&2; exit 1; }
"$lab" dashboards check --prometheus "$prometheus" --wait 120
if [[ -n ${1:-} ]]; then
    for name in cache lock service stores; do
        "$lab" dashboards draw --prometheus "$prometheus" --dashboard "$name" --out "$1/$name.svg"
    done
fi
rm -f "$used"
wait "$using"
