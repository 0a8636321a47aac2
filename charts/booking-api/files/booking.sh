# shellcheck shell=bash disable=SC2154 # http sets status, body and head
# Sells out an event from all replicas at once, and counts.
set -euo pipefail
# shellcheck source=/dev/null
. /test/http.sh

readonly CAPACITY=20 BUYERS=40

mapfile -t addresses < <(replicas)
[[ -n ${addresses[*]} ]] || exit 1
echo "replicas: ${addresses[*]}"

http POST "$SERVICE" "$PORT" /events "{\"name\":\"helm test\",\"capacity\":$CAPACITY,\"strategy\":\"redis-fenced\"}" ||
    fail "$SERVICE:$PORT does not accept connections"
[[ $status == 201 ]] || fail "POST /events answered $status"
event=$(header location)

buy() {
    local address=${addresses[$(($1 % ${#addresses[@]}))]}
    for _ in 1 2 3; do
        # With the same key, so that a repeat books nothing twice.
        if http POST "$address" 8080 "$event/bookings" '{"seats":1}' "idempotency-key: helm-test-${event##*/}-$1"; then
            # 423: the lock was not had in time; nothing was booked, and asking again is right.
            [[ $status == 423 || $status == 503 ]] || break
        fi
    done
    echo "$status" > "/tmp/buyer-$1"
}

for buyer in $(seq "$BUYERS"); do buy "$buyer" & done
wait
sold=$(cat /tmp/buyer-* | grep -c '^201$') || true
refused=$(cat /tmp/buyer-* | grep -c '^409$') || true
echo "sold $sold, sold out for $refused, other answers $((BUYERS - sold - refused))"
[[ $sold == "$CAPACITY" && $refused == $((BUYERS - CAPACITY)) ]] || fail "expected $CAPACITY sold and $((BUYERS - CAPACITY)) refused"

http GET "$SERVICE" "$PORT" "$event/audit"
[[ $status == 200 ]] || fail "GET $event/audit answered $status"
for line in "seats_sold $CAPACITY" "oversold 0" "drift 0" "duplicate_keys 0" "out_of_order 0"; do
    [[ $(member "${line% *}") == "${line#* }" ]] || fail "the audit says ${line% *} = $(member "${line% *}"), and not ${line#* }"
done
echo "passed: $CAPACITY seats sold by ${#addresses[@]} replicas to $BUYERS buyers, none twice"
