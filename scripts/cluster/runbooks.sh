#!/usr/bin/env bash
# Each alert names a page of docs/runbooks that is there and names it; no page is about an alert that there is not; each page has
# its four parts and is in the index; links between pages lead somewhere. And each alert has a rule test in which it fires and one
# in which it must not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
pages=docs/runbooks rules=k8s/base/prometheus/rules tests=k8s/base/prometheus/tests
wrong=0
wrong() { echo "$*"; wrong=1; }

# ALERT PAGE, a line each.
alerts=$(awk '
    /^ *- alert:/ { if (alert) print alert, "-"; alert = $3; next }
    alert && /^ *runbook:/ { print alert, $2; alert = "" }
    END { if (alert) print alert, "-" }' "$rules"/*.yaml)
[[ -n $alerts ]] || { echo "there are no alerts in $rules"; exit 1; }

# The names in the line "Alert: `A`" or "Alerts: `A`, `B`" of a page.
named_on() { sed -n 's/^Alerts\{0,1\}: //p' "$1" | tr -d '`,' | tr ' ' '\n'; }

while read -r alert page; do
    if [[ $page == - ]]; then
        wrong "$alert has no annotation runbook"
    elif [[ ! -f $page || $page != "$pages"/* ]]; then
        wrong "$alert names $page, which is no page of $pages"
    elif ! named_on "$page" | grep -qx "$alert"; then
        wrong "$page does not name $alert"
    fi
    # Whether its cases expect something, and whether one expects nothing.
    cases=$(awk -v alert="$alert" '
        /^ *- name:/ { on = 0 }
        /alertname:/ { name = $0; sub(/.*alertname: */, "", name); sub(/[, }].*/, "", name); on = (name == alert) }
        on && /exp_alerts: *\[\]/ { print "quiet"; on = 0 }
        on && /exp_alerts: *$/ { print "fires"; on = 0 }' "$tests"/*.yaml)
    for kind in fires quiet; do
        grep -qx "$kind" <<<"$cases" || wrong "$alert has no rule test in which it $([[ $kind == fires ]] && echo fires || echo "must not fire")"
    done
done <<<"$alerts"

for page in "$pages"/*.md; do
    name=${page##*/}
    if [[ $name != README.md ]]; then
        grep -q " $page\$" <<<"$alerts" || wrong "$page belongs to no alert"
        grep -qF "]($name)" "$pages/README.md" || wrong "$pages/README.md does not list $name"
        while read -r alert; do
            grep -q "^$alert $page\$" <<<"$alerts" || wrong "$page names $alert, which is no alert of this page"
            grep -F "]($name)" "$pages/README.md" | grep -qF "\`$alert\`" || wrong "$pages/README.md does not name $alert beside $name"
        done < <(named_on "$page")
        for part in "Meaning" "How to see it" "What to do" "How to provoke it here"; do
            grep -qx "## $part" "$page" || wrong "$page has no part \"$part\""
        done
    fi
    while read -r link; do
        [[ -e $pages/$link ]] || wrong "$page links to $link, which is not there"
    done < <(grep -oE '\]\([^):#]+\)' "$page" | sed 's/^](//; s/)$//')
done
exit "$wrong"
