#!/usr/bin/env bash
# Kills the shop's worker that leads, without a moment to say goodbye, and waits for another one to lead. Which one leads, PostgreSQL
# knows: the session that has the lock is the leader's.
#
#   k8s/kill-worker.sh
set -euo pipefail

namespace=${NAMESPACE:-backends}

if (($#)); then
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    [[ $1 == --help || $1 == -h ]] && exit 0
    exit 64
fi

kube() { kubectl --namespace "$namespace" "$@"; }

# leader: the address of the leader's pod; nothing if nobody leads.
leader() {
    kube exec postgres-0 --container postgres -- psql --username postgres --dbname backends --no-psqlrc --tuples-only --no-align --command "
        select host(client_addr) from pg_stat_activity join pg_locks using (pid)
        where application_name = 'shop-worker-leader' and locktype = 'advisory' and granted limit 1"
}

address=$(leader)
[[ -n $address ]] || { echo "kill-worker.sh: no worker leads in the namespace $namespace" >&2; exit 69; }
pod=$(kube get pod --selector app.kubernetes.io/component=worker --field-selector "status.podIP=$address" --output name)
[[ -n $pod ]] || { echo "kill-worker.sh: $address, which leads, is the address of no worker's pod" >&2; exit 69; }

# The image has the lab, which can send a signal; where it has not (in development), the kubelet kills.
kube exec "$pod" --container shop-worker -- lab signal KILL shop-worker >/dev/null 2>&1 || true
kube delete "$pod" --grace-period=0 --force --wait=false 2>/dev/null
echo "killed: $pod, which led" >&2
begun=$SECONDS
until next=$(leader) && [[ -n $next && $next != "$address" ]]; do
    ((SECONDS - begun < 60)) || { echo "kill-worker.sh: nobody else leads after 60 s" >&2; exit 1; }
done
echo "leads: $(kube get pod --field-selector "status.podIP=$next" --output name), after at most $((SECONDS - begun + 1)) s" >&2
