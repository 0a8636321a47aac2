# shellcheck shell=bash disable=SC2154 # http sets status, body and head
# Writes a post, reads it back, changes it, and wants to see each state on every replica: what was acknowledged as
# applied must not be unknown to any of them.
set -euo pipefail
# shellcheck source=/dev/null
. /test/http.sh

addresses=$(replicas)
echo "replicas: ${addresses//$'\n'/ }"

# The author comes from the data of the lab, if it is there; without it, any post's path must still answer.
http GET "$SERVICE" "$PORT" '/posts?limit=1' || fail "$SERVICE:$PORT does not accept connections"
[[ $status == 200 ]] || fail "GET /posts answered $status"
author=$(grep -o '"author":{"name":"[^"]*"' <<<"$body" | head -n 1 | cut -d'"' -f6) || true
if [[ -z $author ]]; then
    echo "the blog is empty (helm install lab charts/lab seeds it): only reads were tested"
    for address in $addresses; do
        http GET "$address" 8080 /posts/1 || fail "$address:8080 does not accept connections"
        [[ $status == 404 ]] || fail "GET /posts/1 of an empty blog answered $status on $address"
    done
    exit 0
fi

http POST "$SERVICE" "$PORT" /posts "{\"author\":\"$author\",\"title\":\"helm test\",\"body\":\"one\",\"tags\":[\"helm-test\"]}"
[[ $status == 201 ]] || fail "POST /posts answered $status"
[[ $(header x-cache-write) != pending ]] || echo "note: the cache is away, so a read may be late"
post=$(header location)
trap 'http DELETE "$SERVICE" "$PORT" "$post"' EXIT

for round in one two three; do
    if [[ $round != one ]]; then
        http PUT "$SERVICE" "$PORT" "$post" "{\"title\":\"helm test\",\"body\":\"$round\",\"tags\":[\"helm-test\"]}"
        [[ $status == 200 ]] || fail "PUT $post answered $status"
    fi
    for address in $addresses; do
        http GET "$address" 8080 "$post" || fail "$address:8080 does not accept connections"
        [[ $status == 200 && $body == *"\"body\":\"$round\""* ]] || fail "$address does not show what was acknowledged: $round"
        echo "$address shows $post as it was written last ($round, $(header x-cache))"
    done
done
echo "passed: three states of one post, each seen on every replica"
