#!/usr/bin/env bash
# Stops the process of a container for some seconds, as a long garbage collection or a frozen machine would: it keeps its connections and
# says nothing. From the outside, since a process with the number 1 cannot be stopped from within; so only where the nodes are
# containers (kind).
#
#   k8s/pause.sh POD SECONDS [CONTAINER]
set -euo pipefail

namespace=${NAMESPACE:-backends}

if (($# < 2)) || [[ ! $2 =~ ^[0-9]+$ ]]; then
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    [[ ${1:-} == --help || ${1:-} == -h ]] && exit 0
    exit 64
fi
pod=$1 seconds=$2 container=${3:-}

about() { kubectl --namespace "$namespace" get pod "$pod" --output "jsonpath=$1"; }

[[ -n $container ]] || container=$(about '{.spec.containers[0].name}')
node=$(about '{.spec.nodeName}')
id=$(about "{.status.containerStatuses[?(@.name=='$container')].containerID}")
id=${id##*/}
if [[ -z $node || -z $id ]]; then
    echo "pause.sh: $pod has no running container $container in the namespace $namespace" >&2
    exit 69
fi

signal() {
    # The processes whose control group is the container's.
    docker exec "$node" sh -c 'found=; for file in /proc/[0-9]*/cgroup; do
        if grep -q "$2" "$file" 2>/dev/null; then pid=${file#/proc/}; kill -"$1" "${pid%/cgroup}" && found=yes; fi
    done; test -n "$found"' sh "$1" "$id"
}

signal STOP || { echo "pause.sh: the processes of $pod are not to be seen on $node" >&2; exit 69; }
trap 'signal CONT; echo "resumed: $pod" >&2' EXIT
echo "paused for $seconds s: $pod ($container on $node)" >&2
sleep "$seconds"
