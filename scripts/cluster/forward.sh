# Port-forwards of kubectl for the scripts here. Sourced; $namespace is set.
# shellcheck shell=bash

# forward WHAT PORT: forwards a free port of this machine to it, and sets forward_pid and forward_url. One line and the status 1 if it
# cannot.
forward() {
    local said port=
    said=$(mktemp)
    # shellcheck disable=SC2154 # by who sources this
    kubectl --namespace "$namespace" port-forward "$1" ":$2" >"$said" 2>&1 &
    forward_pid=$!
    for _ in {1..100}; do
        port=$(sed -n 's/^Forwarding from 127.0.0.1:\([0-9]*\).*/\1/p' "$said")
        [[ -z $port ]] || break
        kill -0 "$forward_pid" 2>/dev/null || break
        sleep 0.1
    done
    if [[ -z $port ]]; then
        echo "no port-forward to $1: $(cat "$said")" >&2
        kill "$forward_pid" 2>/dev/null
        rm -f "$said"
        return 1
    fi
    rm -f "$said"
    # shellcheck disable=SC2034 # for who sources this
    forward_url=http://127.0.0.1:$port
}
