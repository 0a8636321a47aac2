#!/usr/bin/env bash
# Starts everything on this machine: `lab up` with private PostgreSQL and Redis, data, three replicas of each service, the
# experiments.
# Installs what is missing (Debian, Ubuntu), builds, and hands over to the lab. The second run needs no network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/prerequisites.sh
. scripts/prerequisites.sh

binary=${CARGO_TARGET_DIR:-target}/release/lab

for argument in "$@"; do
    if [[ $argument == --help || $argument == -h ]]; then
        if [[ -x $binary ]]; then
            exec "$binary" up --help
        fi
        say "usage: ./start.sh [--once] [--posts N] [--products N] [--replicas N] [--only NAME] [--fresh] [--no-experiments] [--data DIR] …"
        say
        say "Installs what is missing (Debian and Ubuntu: by apt-get), builds in release mode, then runs \`lab up\` with the"
        say "flags given: private PostgreSQL and Redis, 500,000 posts, 100,000 products, three replicas of each service, the experiments, until Ctrl-C."
        say "Every flag is explained by ./start.sh --help after the first build."
        exit 0
    fi
done

need_everything

if [[ ! -x $binary ]]; then
    say "Building in release mode; the first time takes some minutes, and downloads what Cargo.lock names."
fi
# The queries are checked against .sqlx, not against a database that the environment happens to name.
SQLX_OFFLINE=true cargo build --release --locked -p blog-api -p booking-api -p shop-api -p shop-worker -p lab ||
    die "the build failed: the lines above say why (without a network, the first build cannot get its dependencies)"

exec "$binary" up "$@"
