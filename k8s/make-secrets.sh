#!/usr/bin/env bash
# Makes the secrets of the stores and of the services, with passwords of its own making. What is there stays as it is, so it can be run
# again at any time, and must be after a service was added. Nothing of it is written to a file.
#
#   NAMESPACE=backends k8s/make-secrets.sh
#
# A password is changed by deleting its key, running this, and restarting the store and the services:
#   kubectl -n backends patch secret postgres-passwords --type=json -p '[{"op":"remove","path":"/data/blog"}]'
set -euo pipefail

namespace=${NAMESPACE:-backends}

case ${1:-} in
    '') ;;
    *)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
        [[ $1 == --help || $1 == -h ]] && exit 0
        exit 64
        ;;
esac

kube() { kubectl --namespace "$namespace" "$@"; }

kube get namespace "$namespace" --output name >/dev/null || {
    echo "make-secrets.sh: there is no namespace $namespace: kubectl apply -k k8s/kind makes it" >&2
    exit 69
}

# password SECRET KEY: prints the password under that key; nothing if there is none.
password() { kube get secret "$1" --ignore-not-found --output "jsonpath={.data.$2}" | base64 -d; }

# passwords SECRET KEY...: makes those of these passwords that there are not. All at once: a store that starts meanwhile must not
# find half of them. Letters and digits, so that they need no quoting in a URL; and by standard input, since everybody on
# the machine sees arguments.
passwords() {
    local secret=$1 key new=''
    shift
    for key in "$@"; do
        [[ -z $(password "$secret" "$key") ]] || continue
        new+="  $key: \"$(head -c 48 /dev/urandom | base64 | tr -dc 'A-Za-z0-9' | cut -c1-32)\""$'\n'
        echo "made: $secret/$key" >&2
    done
    [[ -n $new ]] || return 0
    if kube get secret "$secret" --output name >/dev/null 2>&1; then
        kube patch secret "$secret" --patch-file /dev/stdin >/dev/null <<<"stringData:"$'\n'"$new"
    else
        kube create --filename - >/dev/null <<YAML
apiVersion: v1
kind: Secret
metadata: {name: $secret, labels: {app.kubernetes.io/part-of: redis-in-real-backends}}
stringData:
$new
YAML
    fi
}

# stores SECRET NAME VALUE...: a service's secret with the URLs of its stores.
stores() {
    local secret=$1 data=''
    shift
    while (($#)); do
        data+="  $1: \"$2\""$'\n'
        shift 2
    done
    kube apply --filename - >/dev/null <<YAML
apiVersion: v1
kind: Secret
metadata: {name: $secret, labels: {app.kubernetes.io/part-of: redis-in-real-backends}}
stringData:
$data
YAML
    echo "there: $secret" >&2
}

database() { printf 'postgres://%s:%s@postgres:5432/backends' "$1" "$(password postgres-passwords "$1")"; }
redis() { printf 'redis://%s:%s@%s:6379' "$1" "$(password "$2-passwords" "$1")" "${3:-$2}"; }

passwords postgres-passwords postgres blog booking shop lab
passwords redis-cache-passwords blog booking shop-api shop-worker lab exporter operator
passwords redis-lock-passwords booking lab exporter operator
passwords redlock-passwords booking exporter
passwords grafana-admin password

stores blog-api-stores \
    DATABASE_URL "$(database blog)" \
    CACHE_REDIS_URL "$(redis blog redis-cache)"
stores booking-api-stores \
    DATABASE_URL "$(database booking)" \
    LOCK_REDIS_URL "$(redis booking redis-lock)" \
    CACHE_REDIS_URL "$(redis booking redis-cache)" \
    REDLOCK_REDIS_URLS "$(redis booking redlock redlock-0.redlock),$(redis booking redlock redlock-1.redlock),$(redis booking redlock redlock-2.redlock)"
stores shop-stores \
    DATABASE_URL "$(database shop)" \
    CACHE_REDIS_URL "$(redis shop-api redis-cache)" \
    WORKER_CACHE_REDIS_URL "$(redis shop-worker redis-cache)"
stores lab-stores \
    DATABASE_URL "$(database lab)" \
    CACHE_REDIS_URL "$(redis lab redis-cache)" \
    LOCK_REDIS_URL "$(redis lab redis-lock)"
