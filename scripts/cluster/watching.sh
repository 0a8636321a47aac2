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
trap 'kill "$forward" 2>/dev/null; rm -f "$output"' EXIT
port=
for _ in {1..50}; do
    port=$(sed -n 's/^Forwarding from 127.0.0.1:\([0-9]*\).*/\1/p' "$output")
    [[ -z $port ]] || break
    sleep 0.1
done
[[ -n $port ]] || { say "FAILED: no port-forward to Prometheus: $(cat "$output")" >&2; exit 1; }
prometheus=http://127.0.0.1:$port

down=$(curl --silent --fail --get "$prometheus/api/v1/query" --data-urlencode 'query=up == 0' |
    python3 -c 'import json, sys; print(" ".join(r["metric"].get("pod", r["metric"].get("instance", "?")) for r in json.load(sys.stdin)["data"]["result"]))')
# Pods of experiments that have ended are no targets; whatever is one must answer.
[[ -z $down ]] || { say "FAILED: not scraped: $down" >&2; exit 1; }
"$lab" dashboards check --prometheus "$prometheus"
if [[ -n ${1:-} ]]; then
    for name in cache lock service stores; do
        "$lab" dashboards draw --prometheus "$prometheus" --dashboard "$name" --out "$1/$name.svg"
    done
fi
