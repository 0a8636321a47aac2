# Says which programs are missing, and where each comes from. Sourced.
# shellcheck shell=bash

how_to_get() {
    case $1 in
        docker) echo "https://docs.docker.com/engine/install/" ;;
        kind) echo "go install sigs.k8s.io/kind@latest, or https://kind.sigs.k8s.io" ;;
        kubectl) echo "https://kubernetes.io/docs/tasks/tools/" ;;
        helm) echo "https://helm.sh/docs/intro/install/" ;;
        helm-docs) echo "go install github.com/norwoodj/helm-docs/cmd/helm-docs@latest" ;;
        untt) echo "go install github.com/helm-unittest/helm-unittest/cmd/helm-unittest@latest, and a link named untt to it" ;;
        kubeconform) echo "go install github.com/yannh/kubeconform/cmd/kubeconform@latest" ;;
        promtool) echo "it comes with Prometheus: https://prometheus.io/download/" ;;
        shellcheck) echo "apt-get install shellcheck, brew install shellcheck" ;;
        python3) echo "apt-get install python3, brew install python3" ;;
        curl) echo "apt-get install curl" ;;
        *) echo "no package known" ;;
    esac
}

# need_programs NAME...: one line for each that is missing, and the status 69.
need_programs() {
    local name missing=0
    for name in "$@"; do
        if ! command -v "$name" >/dev/null; then
            echo "$name is missing: $(how_to_get "$name")" >&2
            missing=1
        fi
    done
    ((missing == 0)) || exit 69
}
