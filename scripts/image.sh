#!/usr/bin/env bash
# Makes the image from programs that cargo builds on this machine, a Linux of Debian 13's age or older: the quick way beside
# `docker build .`, which compiles in Docker.
#
#   scripts/image.sh [--quick] [TAG]      redis-in-real-backends:0.1.0 unless told
#
# With --quick the programs are of the profile of that name: larger and slower, compiled in a third of the time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/programs.sh
. scripts/programs.sh

profile=release
# The queries are checked against .sqlx, not against a database that the environment happens to name.
export SQLX_OFFLINE=true
tag=
for argument in "$@"; do
    case $argument in
        --help | -h)
            sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        --quick) profile=quick ;;
        -*)
            echo "image.sh: unknown argument: $argument" >&2
            exit 64
            ;;
        *)
            [[ -z $tag ]] || { echo "image.sh: one tag, not $tag and $argument" >&2; exit 64; }
            tag=$argument
            ;;
    esac
done
tag=${tag:-redis-in-real-backends:0.1.0}
[[ $(uname -s) == Linux ]] || { echo "image.sh: this is no Linux: docker build -t $tag ." >&2; exit 69; }

cargo build --profile "$profile" --locked -p backends -p lab --features backends/k8s,lab/k8s
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for name in backends lab; do
    # Names of functions stay, for backtraces; what is only for a debugger is most of the file.
    strip --strip-debug -o "$folder/$name" "${CARGO_TARGET_DIR:-target}/$profile/$name"
done
for name in "${services[@]}"; do ln -s backends "$folder/$name"; done
docker build --quiet --file Dockerfile --target prebuilt --tag "$tag" "$folder"
