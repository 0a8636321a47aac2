#!/usr/bin/env bash
# The whole system on Kubernetes, from nothing to nothing: image, stores, charts, 500,000 posts, the charts' own tests, every fault of the
# lab under load, an upgrade that cannot work, an uninstall that leaves nothing behind.
#
#   kind create cluster --config kind-config.yaml
#   ./test.sh cluster e2e
#
# kubectl must point to a cluster made by kind: it is filled, broken and emptied. Settings, by the environment:
#
#   SKIP_BUILD=1   takes the image redis-in-real-backends:0.1.0 as it is in the nodes
#   QUICK=1        makes it by the profile of that name, presses a fifth as hard (what is checked is right or wrong at any speed),
#                  and loses no node, which takes two minutes
#   KEEP=1         leaves all of it running in the end
#   GRAFANA=1      installs Grafana, too
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/cluster/needs.sh
. scripts/cluster/needs.sh
# shellcheck source=scripts/cluster/forward.sh
. scripts/cluster/forward.sh

readonly namespace=backends image=redis-in-real-backends:0.1.0
pressure=()
[[ ${QUICK:-} != 1 ]] || pressure=(--rate 100)
readonly pressure
base=k8s/without-grafana
[[ ${GRAFANA:-} != 1 ]] || base=k8s/kind
readonly base

say() { printf '%s\n' "$*"; }
part() { printf '\n-- %s (at %s s)\n' "$*" "$SECONDS"; }
fail() {
    say "FAILED: $*" >&2
    exit 1
}
kube() { kubectl --namespace "$namespace" "$@"; }

need_programs docker kind kubectl helm curl python3

context=$(kubectl config current-context 2>/dev/null) || {
    say "kubectl points to no cluster: kind create cluster --config kind-config.yaml" >&2
    exit 69
}
[[ $context == kind-* ]] || {
    say "kubectl points to $context, which is not a cluster of kind: this test fills it, breaks it and empties it" >&2
    exit 64
}
readonly cluster=${context#kind-}
if kubectl get namespace "$namespace" >/dev/null 2>&1; then
    say "the namespace $namespace is there already: kubectl delete namespace $namespace, or another cluster" >&2
    exit 64
fi

forward_pid=
killed=
# What is needed to see why, when something failed.
# shellcheck disable=SC2317 # called by the trap
finish() {
    local status=$?
    trap - EXIT INT TERM
    [[ -z $forward_pid ]] || kill "$forward_pid" 2>/dev/null || true
    [[ -z $killed ]] || docker start "$killed" >/dev/null || true
    if ((status != 0)); then
        part "what was there when it failed"
        kubectl get nodes --output wide || true
        kube get pods,jobs,endpointslices --output wide || true
        kube get events --sort-by .lastTimestamp | tail -n 60 || true
        for pod in $(kube get pods --output 'jsonpath={.items[*].metadata.name}'); do
            say "-- log of $pod"
            kube logs "$pod" --all-containers --tail=60 || true
            kube logs "$pod" --all-containers --previous --tail=20 2>/dev/null || true
        done
    fi
    if [[ ${KEEP:-} != 1 ]]; then
        helm uninstall lab shop booking-api blog-api --namespace "$namespace" --ignore-not-found >/dev/null 2>&1 || true
        kubectl delete namespace "$namespace" --ignore-not-found --wait=false >/dev/null 2>&1 || true
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

settle() {
    local name
    for name in "$@"; do
        kube rollout status "$name" --timeout=180s >/dev/null || fail "$name is not ready within 180 s"
    done
}

# experiment NAME FLAG...: runs it to its end; what it checked must have held.
experiment() {
    part "lab $*"
    scripts/experiment.sh "$@" || fail "lab $* ended with $?"
}

if [[ ${SKIP_BUILD:-} != 1 ]]; then
    part "the image, from programs built on this machine"
    command -v cargo >/dev/null || fail "cargo is missing: https://rustup.rs"
    if [[ ${QUICK:-} == 1 ]]; then
        scripts/image.sh --quick "$image"
    else
        scripts/image.sh "$image"
        size=$(docker save "$image" | gzip | wc -c)
        say "$((size / 1000000)) MB compressed"
        ((size < 40000000)) || fail "the image has $size bytes compressed, and 40 MB is the most"
    fi
    kind load docker-image "$image" --name "$cluster"
fi

part "from nothing to 500,000 posts and 100,000 products"
begun=$SECONDS
kubectl apply --kustomize "$base" >/dev/null
k8s/make-secrets.sh >/dev/null
# All at once: who needs something waits for it. Two of each migration and of the seeding, to see that they get along.
helm install blog-api charts/blog-api --namespace "$namespace" >/dev/null
helm install booking-api charts/booking-api --namespace "$namespace" >/dev/null
helm install shop charts/shop --namespace "$namespace" >/dev/null
helm install lab charts/lab --namespace "$namespace" --set faults.nodes=true >/dev/null
twin() {
    kube get job "$1" --output json | python3 -c '
import json, sys
job = json.load(sys.stdin)
job["metadata"] = {"name": sys.argv[1], "namespace": job["metadata"]["namespace"]}
job["spec"].pop("selector", None)
labels = job["spec"]["template"]["metadata"]["labels"]
for name in [name for name in labels if "controller-uid" in name or "job-name" in name]:
    del labels[name]
job.pop("status", None)
print(json.dumps(job))' "$2" | kubectl create --filename - >/dev/null
}
job_of() { kube get job --selector "app.kubernetes.io/component=$1,app.kubernetes.io/instance=$2" --output 'jsonpath={.items[0].metadata.name}'; }
twin "$(job_of migrate blog-api)" migrate-twin
twin "$(job_of seed lab)" seed-twin
settle statefulset/postgres statefulset/redis-cache statefulset/redis-lock statefulset/prometheus \
    deployment/blog-api deployment/booking-api deployment/shop-api deployment/shop-worker
say "all pods ready after $((SECONDS - begun)) s"
kube wait --for=condition=complete job --all --timeout=240s >/dev/null || fail "a Job did not complete within 240 s"
took=$((SECONDS - begun))
say "500,000 posts and 100,000 products after $took s"
((took < 240)) || fail "it took $took s, and 240 s is the most"
kube logs "job/$(job_of seed lab)" | tail -n 2
posts=$(kube exec postgres-0 --container postgres -- psql -U postgres -d backends -tAc 'select count(*) from blog.posts')
[[ $posts == 500000 ]] || fail "there are $posts posts"
products=$(kube exec postgres-0 --container postgres -- psql -U postgres -d backends -tAc 'select count(*) from shop.products')
[[ $products == 100000 ]] || fail "there are $products products"

part "starts"
kube get pods --selector app.kubernetes.io/component=api --output json | python3 -c '
import datetime, json, sys
read = lambda text: datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
for pod in json.load(sys.stdin)["items"]:
    status = pod["status"]
    started = read(status["containerStatuses"][0]["state"]["running"]["startedAt"])
    ready = next(read(c["lastTransitionTime"]) for c in status["conditions"] if c["type"] == "Ready")
    name = pod["metadata"]["name"]
    print(f"{name}: ready {(ready - started).seconds} s after its process started")'

part "helm test"
for chart in blog-api booking-api shop; do
    helm test "$chart" --namespace "$namespace" --logs | sed -n '/^POD LOGS/,$p'
done

part "one replica more"
begun=$(date +%s%N)
kube scale deployment/blog-api --replicas=4 >/dev/null
for _ in {1..300}; do
    ready=$(kube get deployment blog-api --output 'jsonpath={.status.readyReplicas}')
    ((ready < 4)) || break
done
say "ready $((($(date +%s%N) - begun) / 1000000)) ms after the request for it"
((ready == 4)) || fail "$ready of 4 replicas are ready"
kube scale deployment/blog-api --replicas=3 >/dev/null

part "a port-forward, as a person has it"
forward service/blog-api 8080 || fail "the blog cannot be reached"
for _ in 1 2; do
    curl --silent --show-error --fail --dump-header - "$forward_url/posts/4242" --output /dev/null | grep -i '^x-cache:'
done
kill "$forward_pid"
forward_pid=

scripts/cluster/walls.sh
scripts/cluster/worker.sh

experiment fault-rollout "${pressure[@]}"
experiment fault-pod-kill "${pressure[@]}"
experiment fault-scale --steps 6,2 "${pressure[@]}"
experiment fault-pause "${pressure[@]}"
experiment fault-store-restart --store redis-cache "${pressure[@]}"
experiment fault-store-restart --store redis-lock "${pressure[@]}"
experiment fault-node-drain "${pressure[@]}"
experiment booking-concurrent --strategies k8s-lease,redis-fenced

part "a worker without stores is killed, and comes back"
stores=$(kube get pods --selector 'app.kubernetes.io/name in (postgres,redis-cache,redis-lock,prometheus)' --output 'jsonpath={.items[*].spec.nodeName}')
victim=
for node in $(kube get pods --selector app.kubernetes.io/component=api --output 'jsonpath={.items[*].spec.nodeName}'); do
    [[ " $stores " == *" $node "* ]] || victim=$node
done
if [[ ${QUICK:-} == 1 ]]; then
    say "SKIPPED: QUICK=1"
elif [[ -z $victim ]]; then
    say "SKIPPED: every node with a replica has a store as well, whose volume does not move"
else
    # Not on the node that is to be lost.
    kubectl cordon "$victim" >/dev/null
    scripts/experiment.sh fault-node-loss --node "$victim" "${pressure[@]}" &
    losing=$!
    for _ in {1..120}; do
        running=$(kube get pods --selector app.kubernetes.io/component=experiment --field-selector status.phase=Running --output name)
        [[ -z $running ]] || break
        sleep 0.5
    done
    kubectl uncordon "$victim" >/dev/null
    # The load has to be there first.
    kube wait --for=condition=ready --timeout=60s "$running" >/dev/null
    sleep 12
    docker kill "$victim" >/dev/null
    killed=$victim
    say "$victim killed (at $SECONDS s)"
    for _ in {1..180}; do
        ready=$(kubectl get node "$victim" --output 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')
        [[ $ready == True ]] || break
        sleep 0.5
    done
    sleep 25
    docker start "$victim" >/dev/null
    killed=
    wait "$losing" || fail "lab fault node-loss ended with $?"
    kubectl wait --for=condition=ready "node/$victim" --timeout=120s >/dev/null
fi

part "an upgrade to an image that does not exist"
# The replicas that serve and will go on to: one on the node that was lost may still be about to go.
serving() {
    kube get pods --selector app.kubernetes.io/name=blog-api,app.kubernetes.io/component=api --field-selector status.phase=Running \
        --output 'go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.uid}}{{"\n"}}{{end}}{{end}}' | sort
}
settle deployment/blog-api
before=$(serving)
helm upgrade blog-api charts/blog-api --namespace "$namespace" --reuse-values --set common.image.tag=none-such --set common.migrations.enabled=false >/dev/null
for _ in {1..120}; do
    waiting=$(kube get pods --selector app.kubernetes.io/name=blog-api --output 'jsonpath={.items[*].status.containerStatuses[*].state.waiting.reason}')
    [[ $waiting != *ImagePull* && $waiting != *ErrImage* ]] || break
    sleep 0.5
done
[[ $waiting == *Image* ]] || fail "no pod waits for the image that does not exist"
available=$(kube get deployment blog-api --output 'jsonpath={.status.availableReplicas}')
[[ $available == 3 ]] || fail "$available of the 3 old replicas serve"
helm rollback blog-api --namespace "$namespace" >/dev/null
settle deployment/blog-api
after=$(serving)
[[ $before == "$after" ]] || fail "the replicas are not those of before the upgrade"
say "the three old replicas served all the time, and still do after the rollback"

scripts/cluster/watching.sh

if [[ ${KEEP:-} == 1 ]]; then
    trap - EXIT
    say "KEEP=1: all of it stays in the namespace $namespace"
    exit 0
fi
part "uninstall"
helm uninstall lab shop booking-api blog-api --namespace "$namespace" >/dev/null
left=$(kube get all,configmap,secret,serviceaccount,role,rolebinding,ingress,networkpolicy,pdb,hpa,cronjob,job,pvc --output name \
    --selector 'app.kubernetes.io/managed-by=Helm' | grep -v -e '^pod/' || true)
[[ -z $left ]] || fail "the charts left behind: $left"
[[ -z $(kubectl get clusterrole,clusterrolebinding --selector app.kubernetes.io/managed-by=Helm,app.kubernetes.io/part-of=redis-in-real-backends --output name) ]] ||
    fail "the charts left rights on the cluster behind"
kubectl delete --kustomize "$base" --wait=true --timeout=180s >/dev/null
kubectl get namespace "$namespace" >/dev/null 2>&1 && fail "the namespace is still there"
left=$(kubectl get clusterrole,clusterrolebinding,pv --output name | grep -e backends -e prometheus || true)
[[ -z $left ]] || fail "left behind in the cluster: $left"
say "nothing is left"
