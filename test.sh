#!/usr/bin/env bash
# Passes the tests: format, lints, every test on real PostgreSQL and Redis processes of its own, doc tests, docs.
# Installs what is missing (Debian, Ubuntu). Nothing has to be running, and nothing is left behind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/prerequisites.sh
. scripts/prerequisites.sh

case ${1:-} in
    '') ;;
    --help | -h)
        say "usage: ./test.sh"
        say
        say "fmt, clippy with warnings denied, all tests, doc tests, cargo doc with warnings denied. A single test:"
        say "cargo test -p fenced-cache --test it NAME"
        exit 0
        ;;
    *)
        say "test.sh: unknown argument '$1'; ./test.sh takes none (see ./test.sh --help)" >&2
        exit 64
        ;;
esac

need_everything
for component in fmt clippy; do
    cargo "$component" --version >/dev/null 2>&1 ||
        die "cargo $component is missing; install it with: rustup component add rustfmt clippy"
done

# The queries are checked against the committed .sqlx, not against a database that the environment happens to name.
export SQLX_OFFLINE=true
export RUSTDOCFLAGS="-D warnings"

step() {
    say
    say "== $*"
    "$@"
}

step cargo fmt --all --check
step cargo clippy --workspace --all-targets --all-features --locked --quiet -- -D warnings
step cargo test --workspace --all-features --locked
step cargo doc --workspace --all-features --no-deps --locked --quiet
if command -v shellcheck >/dev/null; then
    step shellcheck start.sh test.sh scripts/*.sh .ci/run
fi
if cargo deny --version >/dev/null 2>&1; then
    step cargo deny --offline check bans licenses sources
fi
say
say "All tests passed in ${SECONDS} s."
