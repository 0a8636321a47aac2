#!/usr/bin/env bash
# Tests what keeps the parts of the installed system apart: who reaches the stores, and what a user of Redis or a role of PostgreSQL may do.
#
#   scripts/cluster/walls.sh
set -euo pipefail
# The commands below are words, and no patterns of files.
set -f

readonly namespace=${NAMESPACE:-backends}
kube() { kubectl --namespace "$namespace" "$@"; }
say() { printf '%s\n' "$*"; }
fail() {
    say "FAILED: $*" >&2
    exit 1
}

say
say "-- who reaches the stores, and what for"

pod=wall-$RANDOM
trap 'kube delete pod "$pod" "$pod-root" --ignore-not-found --wait=false >/dev/null 2>&1' EXIT

# make NAME LABELS: a pod with bash that does nothing.
make() {
    kubectl create --filename - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $1, namespace: $namespace, labels: {app.kubernetes.io/name: wall$2}}
spec:
  restartPolicy: Never
  enableServiceLinks: false
  securityContext: {runAsNonRoot: true, runAsUser: ${3:-65532}, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: bash
      image: redis:8
      command: [sleep, "600"]
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
YAML
}

# The addresses, since a pod that may reach nothing cannot ask for names either.
address() { kube get pod "$1-0" --output 'jsonpath={.status.podIP}'; }
reaches() { kube exec "$pod" -- timeout 3 bash -c "exec 3<>/dev/tcp/$1/$2" >/dev/null 2>&1; }

make "$pod" ''
kube wait --for=condition=ready "pod/$pod" --timeout=60s >/dev/null
for store in postgres:5432 redis-cache:6379 redis-lock:6379; do
    ! reaches "$(address "${store%:*}")" "${store#*:}" || fail "a pod without the label reaches ${store%:*}"
    say "a pod without the label does not reach ${store%:*}"
done
kube label pod "$pod" redis-cache-client=true >/dev/null
kubectl apply --filename - >/dev/null <<YAML
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: $pod, namespace: $namespace}
spec:
  podSelector: {matchLabels: {app.kubernetes.io/name: wall}}
  policyTypes: [Egress]
  egress: [{}]
YAML
trap 'kube delete networkpolicy "$pod" --ignore-not-found >/dev/null 2>&1; kube delete pod "$pod" --ignore-not-found --wait=false >/dev/null 2>&1' EXIT
for _ in {1..50}; do
    reaches "$(address redis-cache)" 6379 && break
    sleep 0.2
done
# The control: the way is found where it is open, so that the closed ones mean something.
reaches "$(address redis-cache)" 6379 || fail "a pod with the label does not reach redis-cache"
say "with the label redis-cache-client it reaches redis-cache"
for store in postgres:5432 redis-lock:6379; do
    ! reaches "$(address "${store%:*}")" "${store#*:}" || fail "with the label of redis-cache it reaches ${store%:*}"
done
say "and neither postgres nor redis-lock, although all may go out"

if make "$pod-root" '' 0 2>/dev/null; then
    fail "a pod that runs as root was admitted"
fi
say "a pod that runs as root is not admitted"

# denied STORE USER COMMAND...: Redis must answer NOPERM.
url() { kube get secret "$1" --output "jsonpath={.data.$2}" | base64 -d; }
ask() {
    local store=$1 url=$2 rest user password
    shift 2
    rest=${url#redis://}
    user=${rest%%:*}
    password=${rest#*:}
    password=${password%%@*}
    kube exec "$store-0" --container redis -- env REDISCLI_AUTH="$password" redis-cli --user "$user" "$@" 2>&1
}
denied() {
    local answer
    answer=$(ask "$@")
    [[ $answer == *NOPERM* || $answer == *"can't run this command"* || $answer == *[Nn]"o permissions"* || $answer == *"command not allowed"* ]] ||
        fail "Redis of $1 allows ${*:3}: $answer"
    say "$1, ${*:3}: refused"
}
blog=$(url blog-api-stores CACHE_REDIS_URL)
booking=$(url booking-api-stores LOCK_REDIS_URL)
[[ $(ask redis-cache "$blog" get blog:none) != *NOPERM* ]] || fail "the blog may not read its own keys"
for command in flushall 'config get maxmemory' 'keys *' 'get booking:x' 'set other:x 1' 'acl list' 'monitor'; do
    # shellcheck disable=SC2086 # words of a command
    denied redis-cache "$blog" $command
done
denied redis-cache "$blog" eval "return redis.call('set', 'other:x', 1)" 0
shop=$(url shop-stores CACHE_REDIS_URL)
worker=$(url shop-stores WORKER_CACHE_REDIS_URL)
[[ $(ask redis-cache "$shop" get shop:none) != *NOPERM* ]] || fail "the shop may not read its own keys"
[[ $(ask redis-cache "$shop" publish shop:events '{"v":1,"kind":"heartbeat","number":0}') != *NOPERM* ]] || fail "the shop may not publish its events"
for command in flushall 'get blog:x' 'del blog-naive:x' 'publish other x' 'keys *' 'monitor' 'client kill type pubsub'; do
    # shellcheck disable=SC2086 # words of a command
    denied redis-cache "$shop" $command
done
denied redis-cache "$shop" eval "return redis.call('del', 'blog:x')" 0
[[ $(ask redis-cache "$worker" del shop:event:none) != *NOPERM* ]] || fail "the shop's worker may not delete what is stale"
for command in 'get shop:event:x' 'set shop:event:x 1' 'del shop:tags:x' 'del blog:x' 'publish shop:events x' 'evalsha 0 0' flushall; do
    # shellcheck disable=SC2086 # words of a command
    denied redis-cache "$worker" $command
done
denied redis-cache "$blog" get shop:event:x
denied redis-cache "$blog" publish shop:events x
for command in flushall 'config set maxmemory 1' 'get blog:x' 'debug sleep 0' 'shutdown'; do
    # shellcheck disable=SC2086 # words of a command
    denied redis-lock "$booking" $command
done
denied redis-lock "$booking" eval "return redis.call('flushall')" 0

# refused SERVICE STATEMENT: PostgreSQL must refuse it to the service's role.
refused() {
    local url answer
    url=$(url "$1-stores" DATABASE_URL)
    # From the server's own pod, which may ask for no names.
    url=${url/@postgres:/@127.0.0.1:}
    if answer=$(kube exec postgres-0 --container postgres -- psql "$url" -tAc "$2" 2>&1); then
        fail "PostgreSQL allows $1: $2 ($answer)"
    fi
    [[ $answer == *"permission denied"* || $answer == *"must be"* ]] || fail "$1, $2: $answer"
    say "postgres, $1: $2: refused"
}
refused blog-api 'select * from booking.events limit 1'
refused booking-api 'delete from blog.posts'
refused booking-api 'create table public.x ()'
refused shop 'select * from blog.posts limit 1'
refused shop 'delete from booking.bookings'
refused blog-api 'select * from shop.products limit 1'
refused blog-api 'insert into shop.outbox_event_pending default values'
refused blog-api 'create role other'
