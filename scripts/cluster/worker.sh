#!/usr/bin/env bash
# Tests the strategy `event` of the installed shop while the worker that leads is killed under writes: another one leads, and every
# replica shows every product as it was written last. The control: without a worker, what was cached stays as it was. Then a message is
# lost.
#
#   scripts/cluster/worker.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/cluster/forward.sh
. scripts/cluster/forward.sh

readonly namespace=${NAMESPACE:-backends} PRODUCTS=20 SECONDS_OF_WRITES=8
# How long what was missed may take to be repaired once another one leads.
readonly REPAIRED=2.5
kube() { kubectl --namespace "$namespace" "$@"; }
say() { printf '%s\n' "$*"; }
fail() {
    say "FAILED: $*" >&2
    exit 1
}

say
say "-- the shop's worker is killed under writes (at $SECONDS s)"

scratch=$(mktemp -d)
forwards=()
# shellcheck disable=SC2317 # called by the trap
finish() {
    ((${#forwards[@]} == 0)) || kill "${forwards[@]}" 2>/dev/null || true
    kube scale deployment/shop-worker --replicas=2 >/dev/null 2>&1 || true
    rm -rf "$scratch"
}
trap finish EXIT

# The API of each replica, on a port of this machine.
replicas=()
for pod in $(kube get pods --selector app.kubernetes.io/name=shop-api --output 'jsonpath={.items[*].metadata.name}'); do
    forward "pod/$pod" 8080 || fail "$pod cannot be reached"
    forwards+=("$forward_pid")
    replicas+=("$forward_url")
done
((${#replicas[@]} > 1)) || fail "there are ${#replicas[@]} replicas of shop-api"

product() { curl --silent --show-error --fail --max-time 10 "$1/s/event/products/$2"; }
number() { sed -n "s/.*\"$1\":\([0-9][0-9]*\).*/\1/p"; }
currency() { sed -n 's/.*"currency":"\([A-Z]*\)".*/\1/p' "$scratch/document"; }
# write REPLICA PRODUCT PRICE: the version that the write has made.
write() {
    curl --silent --show-error --fail --max-time 10 --request PATCH "$1/s/event/products/$2/price" --header 'content-type: application/json' \
        --data "{\"price\":{\"amount\":$3,\"currency\":\"$(cat "$scratch/currency-$2")\"}}" | number version
}
# stale PRODUCT...: counts answers older than what was written last, of all replicas, each asked once.
stale() {
    local found=0 replica product shown
    for product in "$@"; do
        for replica in "${replicas[@]}"; do
            shown=$(product "$replica" "$product" | number version)
            ((shown >= $(cat "$scratch/version-$product"))) || found=$((found + 1))
        done
    done
    say "$found"
}

# In the cache, so that there is something to be stale.
for product in $(seq "$PRODUCTS"); do
    for replica in "${replicas[@]}"; do product "$replica" "$product" >"$scratch/document"; done
    currency >"$scratch/currency-$product"
done

kube scale deployment/shop-worker --replicas=0 >/dev/null
for _ in {1..120}; do
    workers=$(kube get pods --selector app.kubernetes.io/name=shop-worker --output name)
    [[ -n $workers ]] || break
    sleep 0.5
done
[[ -z $workers ]] || fail "a minute after they were scaled to 0 there are still workers: $workers"
# One that nobody has read before: its entry's time begins now.
control=$((1000 + RANDOM))
product "${replicas[0]}" "$control" >"$scratch/document"
currency >"$scratch/currency-$control"
write "${replicas[0]}" "$control" 4242 >"$scratch/version-$control"
sleep "$REPAIRED"
old=$(stale "$control")
((old == ${#replicas[@]})) || fail "without a worker, $old of ${#replicas[@]} replicas show what was there before: this test could not see a lost event"
say "control: without a worker, all $old replicas still show what was there before"
kube scale deployment/shop-worker --replicas=2 >/dev/null
kube rollout status deployment/shop-worker --timeout=120s >/dev/null
for _ in {1..60}; do
    old=$(stale "$control")
    ((old > 0)) || break
    sleep 0.5
done
((old == 0)) || fail "with workers again, $old replicas still show what was there before, 30 s later"
say "with workers again, none does"

for product in $(seq "$PRODUCTS"); do write "${replicas[0]}" "$product" 100 >"$scratch/version-$product"; done
writes() {
    local until=$((SECONDS + SECONDS_OF_WRITES)) count=0 product
    while ((SECONDS < until)); do
        product=$((count % PRODUCTS + 1))
        write "${replicas[$((count % ${#replicas[@]}))]}" "$product" $((RANDOM + 1)) >"$scratch/version-$product.new"
        mv "$scratch/version-$product.new" "$scratch/version-$product"
        # Somebody reads it, so that it is cached again.
        product "${replicas[$((RANDOM % ${#replicas[@]}))]}" "$product" >/dev/null
        count=$((count + 1))
    done
    say "$count" >"$scratch/writes"
}
writes &
writing=$!
sleep 3
k8s/kill-worker.sh
wait "$writing" || fail "a write failed while the worker was away, though no writer needs it"
sleep "$REPAIRED"
old=$(stale $(seq "$PRODUCTS"))
((old == 0)) || fail "$old of $((PRODUCTS * ${#replicas[@]})) answers are older than what was written last, $REPAIRED s after the last write"
say "$(cat "$scratch/writes") writes to $PRODUCTS products, the leader killed among them: $REPAIRED s later each of ${#replicas[@]} replicas shows each as it was written last"
kube rollout status deployment/shop-worker --timeout=120s >/dev/null
SHOP_API_URL=${replicas[0]} k8s/lose-message.sh "$control"
