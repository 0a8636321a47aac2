#!/usr/bin/env bash
# Runs an experiment in the cluster and follows it: makes a Job from the CronJob lab-NAME that the chart `lab` has for it, shows its log,
# and ends with the status of the experiment. Ctrl-C deletes the Job; what the lab had broken, it mends before it ends.
#
#   scripts/experiment.sh                         what there is
#   scripts/experiment.sh NAME [FLAG...]          flags come after those of the chart: the last one counts
#
#   scripts/experiment.sh blog-performance
#   scripts/experiment.sh booking-concurrent --strategies none
#   scripts/experiment.sh fault-scale --steps 1,3,6
#
# Settings, by the environment: NAMESPACE (backends), and STARTED_WITHIN (seconds until its pod must run: 120).
# Exit status: the experiment's (0: what was checked held; 1: it did not), 64 for an unknown name, 69 when it could not be run.
set -euo pipefail

namespace=${NAMESPACE:-backends}
within=${STARTED_WITHIN:-120}

kube() { kubectl --namespace "$namespace" "$@"; }
die() {
    printf 'experiment.sh: %s\n' "$2" >&2
    exit "$1"
}

known() {
    kube get cronjob --selector app.kubernetes.io/component=experiment \
        --output 'jsonpath={range .items[*]}{.metadata.name}{" "}{.spec.jobTemplate.spec.template.spec.containers[0].args}{"\n"}{end}' |
        sed 's/^lab-/  /'
}

case ${1:-} in
    --help | -h)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    '')
        experiments=$(known) || die 69 "the cluster does not answer (kubectl says why, above)"
        [[ -n $experiments ]] || die 69 "the namespace $namespace has no experiments: helm install lab charts/lab -n $namespace"
        printf 'Experiments in the namespace %s, with the flags of each:\n%s\n' "$namespace" "$experiments"
        exit 0
        ;;
esac
name=$1
shift

# Found by its name, and with another status than a cluster that does not answer.
found=$(kube get cronjob "lab-$name" --ignore-not-found --output name) || die 69 "the cluster does not answer (kubectl says why, above)"
if [[ -z $found ]]; then
    experiments=$(known)
    [[ -n $experiments ]] || die 69 "the namespace $namespace has no experiments: helm install lab charts/lab -n $namespace"
    printf 'experiment.sh: there is no experiment %s in the namespace %s; there are\n%s\n' "$name" "$namespace" "$experiments" >&2
    exit 64
fi

# The flags as operations on the Job's arguments; quoted for JSON.
operations=''
for flag in "$@"; do
    [[ $flag != *$'\n'* ]] || die 64 "a flag is one line"
    flag=${flag//\\/\\\\}
    operations+="${operations:+,}{\"op\":\"add\",\"path\":\"/spec/template/spec/containers/0/args/-\",\"value\":\"${flag//\"/\\\"}\"}"
done

job=$name-$(date +%m%d-%H%M%S)-$((RANDOM % 1000))

# Whoever stops this stops the experiment. The kubelet asks it to end, and gives it a minute to mend what it broke.
# shellcheck disable=SC2317 # the traps call it
stop() {
    trap '' INT TERM
    printf 'experiment.sh: stopping %s; the lab mends what it broke\n' "$job" >&2
    kube delete job "$job" --ignore-not-found --wait=false --cascade=background >/dev/null || true
    kube wait --for=delete pod --selector "job-name=$job" --timeout=90s >/dev/null 2>&1 || true
    exit "$1"
}
trap 'stop 130' INT
trap 'stop 143' TERM

kube create job "$job" --from="cronjob/lab-$name" --dry-run=client --output yaml |
    kube patch --local --filename - --type json --patch "[$operations]" --output yaml |
    kube create --filename - >/dev/null || die 69 "the Job could not be made (kubectl says why, above)"
printf 'job/%s: lab' "$job" >&2
printf ' %s' "$(kube get job "$job" --output 'jsonpath={.spec.template.spec.containers[0].args[*]}')" >&2
printf '\n' >&2

pod_has() { kube get pod --selector "job-name=$job" --output "jsonpath={.items[0]$1}" 2>/dev/null || true; }

# Until its pod runs or is over: before that there is no log.
deadline=$((SECONDS + within))
until [[ $(pod_has .status.phase) =~ ^(Running|Succeeded|Failed)$ ]]; do
    if ((SECONDS >= deadline)); then
        kube get events --field-selector "involvedObject.kind!=Node" --sort-by .lastTimestamp 2>/dev/null | grep -- "$job" | tail -n 5 >&2 || true
        kube delete job "$job" --ignore-not-found --wait=false >/dev/null || true
        die 69 "the experiment's pod did not start within $within s (its events are above)"
    fi
    sleep 0.3
done

# In the background: a signal is heard during `wait`, not during a program. A log that is cut off is taken up again.
since=''
while :; do
    kube logs --follow "job/$job" ${since:+--since-time="$since"} &
    wait $! || true
    since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    code=$(pod_has .status.containerStatuses[0].state.terminated.exitCode)
    [[ -z $code ]] || break
    [[ -n $(pod_has .metadata.name) ]] || die 69 "the experiment's pod is gone before it ended: deleted, or evicted with its node"
    sleep 1
done
printf 'job/%s: ended with %s\n' "$job" "$code" >&2
exit "$code"
