#!/usr/bin/env bash
# Passes the tests: format, lints, every test on real PostgreSQL and Redis processes of its own, doc tests, docs.
# Installs what is missing (Debian, Ubuntu). Nothing has to be running, and nothing is left behind.
# `./test.sh cluster` passes those of the charts and of the whole system on Kubernetes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/prerequisites.sh
. scripts/prerequisites.sh

usage() {
    say "usage: ./test.sh"
    say "       ./test.sh cluster [lint | e2e]"
    say
    say "Without an argument: fmt, clippy with warnings denied, all tests, doc tests, cargo doc with warnings denied."
    say "A single test: cargo test -p fenced-cache --test it NAME"
    say
    say "cluster lint: helm lint, wrong values refused, template tests, manifests against Kubernetes' schemas, rules and their"
    say "tests, dashboards, runbooks, shell scripts. Needs no cluster; what is missing is said with where to get it."
    say "cluster e2e: the whole system on the Kubernetes that kubectl points to, which must be one made by kind."
    say "cluster: both."
}

# The endpoint that the reader of docs/course.md adds; he may have added it.
own_endpoint_applies() {
    git apply --check docs/own-endpoint.diff 2>/dev/null || git apply --check --reverse docs/own-endpoint.diff
}

step() {
    say
    say "== $*"
    "$@"
}

wrong() {
    say "test.sh: $1 (see ./test.sh --help)" >&2
    exit 64
}

case ${1:-} in
    '') ;;
    --help | -h)
        usage
        exit 0
        ;;
    cluster)
        (($# <= 2)) || wrong "'cluster' takes lint, e2e or nothing"
        case ${2:-} in
            lint) step scripts/cluster/lint.sh ;;
            e2e) step scripts/cluster/e2e.sh ;;
            '')
                step scripts/cluster/lint.sh
                step scripts/cluster/e2e.sh
                ;;
            *) wrong "unknown argument '$2'; 'cluster' takes lint, e2e or nothing" ;;
        esac
        say
        say "All tests of the cluster${2:+ ($2)} passed in ${SECONDS} s."
        exit 0
        ;;
    *) wrong "unknown argument '$1'" ;;
esac
(($# <= 1)) || wrong "unknown argument '$2'"

need_everything
for component in fmt clippy; do
    cargo "$component" --version >/dev/null 2>&1 ||
        die "cargo $component is missing; install it with: rustup component add rustfmt clippy"
done

# The queries are checked against the committed .sqlx, not against a database that the environment happens to name.
export SQLX_OFFLINE=true
export RUSTDOCFLAGS="-D warnings"

step own_endpoint_applies
step cargo fmt --all --check
step cargo clippy --workspace --all-targets --all-features --locked --quiet -- -D warnings
step cargo test --workspace --all-features --locked
step cargo doc --workspace --all-features --no-deps --locked --quiet
if command -v shellcheck >/dev/null; then
    step shellcheck --external-sources start.sh test.sh .ci/run scripts/*.sh scripts/cluster/*.sh k8s/*.sh
fi
if cargo deny --version >/dev/null 2>&1; then
    step cargo deny --offline check bans licenses sources
fi
say
say "All tests passed in ${SECONDS} s."
