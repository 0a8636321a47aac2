#!/usr/bin/env bash
# Tests what watches the installed system: every target is scraped, and every query of every dashboard and rule returns data.
#
#   scripts/cluster/watching.sh [FOLDER]
#
# With a folder, the dashboards' queries are drawn there as well: one picture for each dashboard, of the last MINUTES (30). QUICK=1 takes the lab of that profile.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/cluster/forward.sh
. scripts/cluster/forward.sh

readonly namespace=${NAMESPACE:-backends}
say() { printf '%s\n' "$*"; }

say
say "-- the dashboards' queries and the rules, against the Prometheus that watched all of this"
profile=release
[[ ${QUICK:-} != 1 ]] || profile=quick
lab=${CARGO_TARGET_DIR:-target}/$profile/lab
forward service/prometheus 9090 || exit 1
prometheus=$forward_url
used=$(mktemp)
trap 'kill "$forward_pid" 2>/dev/null; rm -f "$used"' EXIT
# Panels are about what has happened within a minute, so the services are used meanwhile: by their own tests.
(while [[ -e $used ]]; do
    for chart in blog-api booking-api shop; do helm test "$chart" --namespace "$namespace" >/dev/null 2>&1 || true; done
done) &
using=$!

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
        "$lab" dashboards draw --prometheus "$prometheus" --dashboard "$name" --minutes "${MINUTES:-30}" --out "$1/$name.svg"
    done
fi
rm -f "$used"
wait "$using"
