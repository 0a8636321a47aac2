#!/usr/bin/env bash
# Loses a message of the shop's on purpose: a price is changed by the strategy `event` while Redis cuts off whoever listens to the
# channel, again and again for more than a second, so that the event is published to nobody. Then it looks until the new price is
# served: when a worker gets through, it reads in the table what it has missed.
#
#   kubectl -n backends port-forward service/shop-api 8082:api &
#   k8s/lose-message.sh [PRODUCT]       product 1 unless told; SHOP_API_URL is http://localhost:8082 unless set
set -euo pipefail

namespace=${NAMESPACE:-backends}
url=${SHOP_API_URL:-http://localhost:8082}

if (($# > 1)) || [[ ! ${1:-1} =~ ^[1-9][0-9]*$ ]]; then
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    [[ $1 == --help || $1 == -h ]] && exit 0
    exit 64
fi
product=$url/s/event/products/${1:-1}

kube() { kubectl --namespace "$namespace" "$@"; }
fail() {
    echo "lose-message.sh: $1" >&2
    exit "$2"
}
ask() { curl --silent --show-error --fail --max-time 10 "$@"; }
number() { sed -n "s/.*\"$1\":\([0-9][0-9]*\).*/\1/p"; }

# Twice: the second answer is the cache's. A port-forward whose pod is gone notices with the first request.
ask --retry 3 --retry-delay 1 --retry-all-errors "$product" >/dev/null || fail "the shop does not answer: kubectl -n $namespace port-forward service/shop-api 8082:api" 69
before=$(ask "$product")
currency=$(sed -n 's/.*"currency":"\([A-Z]*\)".*/\1/p' <<<"$before")
version=$(number version <<<"$before")

# The lab's user may cut connections off. Redis answers with how many there were.
lab=$(kube get secret lab-stores --output 'jsonpath={.data.CACHE_REDIS_URL}' | base64 -d)
password=${lab#redis://*:}
cut_off() {
    kube exec --stdin redis-cache-0 --container redis -- sh -c \
        'read -r REDISCLI_AUTH; export REDISCLI_AUTH; redis-cli --user lab -r 150 -i 0.01 client kill type pubsub' <<<"${password%%@*}"
}
exec 3< <(cut_off)
read -r first <&3 || fail "Redis did not answer" 69
[[ $first =~ ^[1-9] ]] || fail "nobody listened to the channel: ${first}" 69

amount=$((RANDOM + 1))
begun=$(date +%s%N)
written=$(ask --request PATCH "$product/price" --header 'content-type: application/json' --data "{\"price\":{\"amount\":$amount,\"currency\":\"$currency\"}}")
echo "version $(number version <<<"$written") is committed, while Redis cuts off whoever listens" >&2
while (($(ask "$product" | number version) <= version)); do
    (($(date +%s%N) - begun < 30000000000)) || fail "version $version is still served, 30 s later" 1
    sleep 0.05
done
echo "served: the new version, at most $((($(date +%s%N) - begun) / 1000000)) ms after it was committed" >&2
cat <&3 >/dev/null
