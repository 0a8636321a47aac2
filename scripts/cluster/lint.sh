#!/usr/bin/env bash
# Everything about the charts, the kustomizations, the rules and the dashboards that can be checked without a cluster.
# All of it is checked, also after something was found; the status is 1 then, and 69 when a program is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/cluster/needs.sh
. scripts/cluster/needs.sh
need_programs helm kubectl kubeconform helm-docs untt promtool shellcheck python3

here=scripts/cluster
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Strict schemas of the cluster's own Kubernetes where they are, else those that kubeconform fetches.
schemas=()
if command -v schemas >/dev/null; then
    schemas=(-schema-location "$(schemas)")
fi

charts=()
for chart in charts/*/Chart.yaml; do
    if ! grep -q '^type: library' "$chart"; then
        charts+=("$(basename "$(dirname "$chart")")")
    fi
done

failed=()
# check WHAT COMMAND...: shows what the command says only when it fails, and goes on.
check() {
    local what=$1 log=$scratch/check
    shift
    # Not in a condition: there a function goes on after an error.
    set +e
    (set -e; "$@") >"$log" 2>&1
    local status=$?
    set -e
    if ((status == 0)); then
        printf 'ok      %s\n' "$what"
    else
        printf 'FAILED  %s\n' "$what"
        # helm tells of each linked library chart; it is linked on purpose.
        grep -v 'walk.go.*symbolic link' "$log" | sed 's/^/        /' || true
        failed+=("$what")
    fi
}

conform() { kubeconform -strict -summary "${schemas[@]}" "$@"; }

lint_chart() { helm lint --strict "charts/$1" --namespace backends; }

# render CHART [VALUES FILE]
render() {
    local chart=$1 out=$scratch/render.yaml
    shift
    helm template "$chart" "charts/$chart" --namespace backends ${1:+--values "$1"} >"$out"
    conform "$out"
}

kustomization() {
    kubectl kustomize "$1" >"$scratch/kustomization.yaml"
    conform "$scratch/kustomization.yaml"
}

# Each line of the file `refusals`, on the charts that it is about.
refusals() {
    local about expression text chart said wrong=0 lines=0
    while IFS='|' read -r about expression text; do
        about=${about%% *} expression=${expression# } expression=${expression% } text=${text# }
        for chart in "${charts[@]}"; do
            [[ $about == every || $about == "$chart" ]] || continue
            lines=$((lines + 1))
            if said=$(helm template "$chart" "charts/$chart" --set "$expression" 2>&1); then
                echo "$chart takes $expression"
                wrong=1
            elif [[ $said != *"$text"* ]]; then
                echo "$chart refuses $expression, but does not say \"$text\":"
                grep -v 'walk.go' <<<"$said"
                wrong=1
            fi
        done
    done < <(grep -v '^#' "$here/refusals")
    ((lines > 0 && wrong == 0))
}

template_tests() {
    local paths=()
    for chart in "${charts[@]}"; do
        if compgen -G "charts/$chart/tests/*_test.yaml" >/dev/null; then
            paths+=("charts/$chart")
        else
            echo "charts/$chart has no template tests"
            return 1
        fi
    done
    untt "${paths[@]}"
}

chart_readmes() {
    cp -R charts "$scratch/charts"
    helm-docs --chart-search-root "$scratch/charts" --log-level warning
    local chart
    for chart in charts/*/; do
        diff -u "$chart/README.md" "$scratch/$chart/README.md" || { echo "run: helm-docs -c charts"; return 1; }
    done
}

rules() {
    promtool check rules k8s/base/prometheus/rules/*.yaml
    promtool check config --syntax-only k8s/base/prometheus/prometheus.yml
    promtool test rules k8s/base/prometheus/tests/*.yaml
}

# A file that exists in two places because a kustomization takes none from outside of its folder.
copies() { cmp k8s/base/redis/acl.sh k8s/redlock/acl.sh; }

shell_scripts() {
    local scripts=()
    # Whatever its name: what begins with a shell's line is a shell script.
    while IFS= read -r script; do
        scripts+=("$script")
    done < <(git ls-files --cached --others --exclude-standard | while IFS= read -r file; do
        if [[ -f $file && ! -L $file ]] && head -c 40 "$file" | head -n 1 | grep -qE '^#!.*[/ ](ba)?sh( |$)'; then
            echo "$file"
        fi
    done)
    ((${#scripts[@]} > 0))
    shellcheck --external-sources "${scripts[@]}"
}

for chart in "${charts[@]}"; do
    check "helm lint --strict: $chart" lint_chart "$chart"
    check "manifests of $chart" render "$chart"
    for values in "$here"/renders/{common,"$chart"}/*.yaml; do
        [[ -e $values ]] || continue
        name=${values##*/}
        check "manifests of $chart: ${name%.yaml}" render "$chart" "$values"
    done
done
check "wrong values are refused" refusals
check "template tests" template_tests
check "the charts' READMEs are what helm-docs writes" chart_readmes
while IFS= read -r folder; do
    check "manifests of $folder" kustomization "$folder"
done < <(find k8s -name kustomization.yaml -exec dirname {} \; | sort)
check "Prometheus' configuration, rules and their tests" rules
check "each alert has its runbook and its tests" "$here/runbooks.sh"
check "the dashboards are what their generator writes" k8s/base/grafana/make_dashboards.py --check
check "the copies of acl.sh are equal" copies
check "shellcheck" shell_scripts

if ((${#failed[@]} > 0)); then
    printf '\n%d checks failed:\n' "${#failed[@]}"
    printf '  %s\n' "${failed[@]}"
    exit 1
fi
