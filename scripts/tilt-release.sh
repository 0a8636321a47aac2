#!/usr/bin/env bash
# For the Tiltfile: installs or upgrades the release of a chart, and prints as YAML what Tilt watches; or removes it.
#
#   scripts/tilt-release.sh apply NAME [ARGUMENT OF HELM...]     TILT_IMAGE_0 is the image that Tilt has built (1: of the worker)
#   scripts/tilt-release.sh delete NAME
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

namespace=backends
what=${1:?apply or delete} name=${2:?NAME is missing}
shift 2

kube() { kubectl --namespace "$namespace" "$@"; }
of() { printf 'app.kubernetes.io/instance=%s,app.kubernetes.io/component=%s' "$name" "$1"; }

# helm says one line for each link that it follows.
helm() { command helm "$@" --namespace "$namespace" 2> >(grep -v 'walk.go.*found symbolic link' >&2); }

if [[ $what == delete ]]; then
    helm uninstall "$name" --ignore-not-found --wait --timeout 90s >&2
    # A pod of `helm test` is a hook, and helm leaves hooks.
    kube delete pod --selector "$(of test)" --ignore-not-found >&2
    exit 0
fi

# What an interrupted helm leaves would refuse every later one.
kube delete secret --selector "owner=helm,name=$name,status in (pending-install,pending-upgrade,pending-rollback)" >&2

command="{restarting,/app/$name,serve}" worker=()
case $name in
    lab) command='{/app/lab}' ;;
    shop)
        command='{restarting,/app/shop-api,serve}'
        worker=(--set "worker.image.repository=${TILT_IMAGE_1%:*}" --set "worker.image.tag=${TILT_IMAGE_1##*:}"
            --set 'worker.command={restarting,/app/shop-worker,serve}')
        ;;
esac
helm upgrade --install "$name" "charts/$name" "$@" ${worker[@]+"${worker[@]}"} \
    --set "common.image.repository=${TILT_IMAGE_0%:*}" --set "common.image.tag=${TILT_IMAGE_0##*:}" \
    --set "common.command=$command" --set common.securityContext.readOnlyRootFilesystem=false \
    --set common.server.drainSeconds=0 --set common.log.format=text |
    grep -E '^(NAME|STATUS|REVISION):' >&2

case $name in
    lab) kube get job --selector "$(of seed)" --output yaml ;;
    *)
        # The replicas wait for it anyway; here its log can be read when it fails.
        if ! kube wait --for=condition=complete --timeout=120s job --selector "$(of migrate)" >&2; then
            kube logs --selector "$(of migrate)" --tail=20 >&2
            exit 1
        fi
        kube logs --selector "$(of migrate)" --tail=5 >&2
        kube get deployment --selector "app.kubernetes.io/instance=$name,app.kubernetes.io/component in (api,worker)" --output yaml
        ;;
esac
