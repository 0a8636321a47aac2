# shellcheck shell=bash disable=SC2154 # http sets status, body and head
# Changes a product by each strategy and wants to see the change on every replica: at once where that is promised, soon where it is
# not; and one worker that leads, with nothing left to do.
set -euo pipefail
# shellcheck source=/dev/null
. /test/http.sh

readonly api=$SERVICE-api worker=$SERVICE-worker SOON=5

mapfile -t addresses < <(SERVICE=$api replicas)
mapfile -t workers < <(SERVICE=$worker replicas)
[[ -n ${addresses[*]} && -n ${workers[*]} ]] || exit 1
echo "replicas: ${addresses[*]}, workers: ${workers[*]}"

# get ADDRESS PATH: an answer of a replica.
get() { http GET "$1" 8080 "$2" || fail "$1:8080 does not accept connections"; }

get "${addresses[0]}" /strategies
[[ $status == 200 ]] || fail "GET /strategies answered $status"
mapfile -t strategies < <(grep -o '"name":"[^"]*"' <<<"$body" | cut -d'"' -f4)
((${#strategies[@]} == 7)) || fail "there are ${#strategies[@]} strategies: ${strategies[*]}"

# The category comes from the data of the lab, if it is there; without it, any product's path must still answer.
get "${addresses[0]}" /s/explicit/products/1
if [[ $status == 404 ]]; then
    echo "the shop is empty (helm install lab charts/lab seeds it): only reads were tested"
    for strategy in "${strategies[@]}"; do
        for address in "${addresses[@]}"; do
            get "$address" "/s/$strategy/products/1"
            [[ $status == 404 ]] || fail "GET /s/$strategy/products/1 of an empty shop answered $status on $address"
        done
    done
    exit 0
fi
[[ $status == 200 ]] || fail "GET /s/explicit/products/1 answered $status"
category=$(member category_id)

price() { printf '{"amount":%d,"currency":"EUR"}' "$1"; }
http POST "$api" "$PORT" /s/explicit/products \
    "{\"category_id\":$category,\"name\":\"helm test\",\"price\":$(price 100),\"stock\":1}" || fail "$api:$PORT does not accept connections"
[[ $status == 201 ]] || fail "POST /s/explicit/products answered $status"
product=${head#*location: /s/explicit/} product=${product%%$'\n'*}
trap 'http DELETE "$api" "$PORT" "/s/explicit/$product"' EXIT

# shows ADDRESS PATH VERSION: whether a replica's answer is of this version or a later one.
shows() {
    get "$1" "$2"
    [[ $status == 200 ]] || fail "GET $2 answered $status on $1"
    (($(member version) >= $3))
}

for strategy in "${strategies[@]}"; do
    path=/s/$strategy/$product
    # In the cache, so that there is something to be stale.
    for address in "${addresses[@]}"; do get "$address" "$path"; done
    http PATCH "$api" "$PORT" "$path/price" "{\"price\":$(price $((RANDOM + 1)))}"
    [[ $status == 200 ]] || fail "PATCH $path/price answered $status"
    version=$(member version) written=$(header x-cache-write) begun=$SECONDS
    [[ $written != pending ]] || echo "note: the cache is away, so a read may be late"
    for address in "${addresses[@]}"; do
        case $strategy in
            # As old as its entry may get, by its nature.
            ttl) shows "$address" "$path" 1 ;;
            event | swr)
                until shows "$address" "$path" "$version"; do
                    ((SECONDS - begun < SOON)) || fail "$address does not show version $version under $strategy after $SOON s"
                    sleep 0.05
                done
                ;;
            *)
                # What is near may be behind for its grace; what is not may never be.
                until shows "$address" "$path" "$version"; do
                    if [[ $(header x-cache) != near_hit ]] || ((SECONDS - begun >= SOON)); then
                        fail "$address does not show version $version under $strategy, although the write is $written"
                    fi
                    sleep 0.05
                done
                ;;
        esac
    done
    echo "$strategy: version $version, $written, seen on every replica"
done

leaders=0
for address in "${workers[@]}"; do
    get "$address" /status
    [[ $status == 200 ]] || fail "GET /status answered $status on the worker $address"
    if [[ $(member leader) == true ]]; then
        leaders=$((leaders + 1)) begun=$SECONDS
        # Without a subscription it would find everything in the table, only later.
        until [[ $(member subscribed) == true ]]; do
            ((SECONDS - begun < SOON)) || fail "the worker $address, which leads, is not subscribed to the channel"
            sleep 0.1
            get "$address" /status
        done
        until [[ $(member lag) == 0 ]]; do
            ((SECONDS - begun < SOON)) || fail "the worker $address is $(member lag) events behind after $SOON s"
            sleep 0.1
            get "$address" /status
        done
    fi
done
((leaders == 1)) || fail "$leaders of ${#workers[@]} workers lead, and one should"
echo "passed: a change by each of ${#strategies[@]} strategies, seen on ${#addresses[@]} replicas; one of ${#workers[@]} workers leads, and has nothing left to do"
