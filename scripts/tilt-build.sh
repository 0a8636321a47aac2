#!/usr/bin/env bash
# For the Tiltfile: builds the programs for Linux and puts each into a folder of its own, from which its development image is made and
# its pods are updated. A program that did not change keeps its file, so its pods are left alone.
#
#   scripts/tilt-build.sh FOLDER [--release] [--docker]
#
# By cargo on this machine if it runs Linux, else (and with --docker) in Docker.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=scripts/programs.sh
. scripts/programs.sh
folder=${1:?FOLDER is missing}
shift
profile='' where=host
[[ $(uname -s) == Linux ]] || where=docker
for argument in "$@"; do
    case $argument in
        --release) profile=--release ;;
        --docker) where=docker ;;
        *)
            echo "tilt-build.sh: unknown argument: $argument" >&2
            exit 64
            ;;
    esac
done

# A name that is not watched: a file appears in its place whole, or not at all.
fresh=$folder/.fresh
rm -rf "$fresh"
mkdir -p "$fresh"
trap 'rm -rf "$fresh"' EXIT

if [[ $where == docker ]]; then
    DOCKER_BUILDKIT=1 docker build --progress plain --target binaries --build-arg "PROFILE=$profile" --output "$fresh" .
else
    # The queries are checked against .sqlx, not against a database that the environment happens to name.
    SQLX_OFFLINE=true cargo build --locked ${profile:+"$profile"} "${packages[@]}" --features "$features"
    built=${CARGO_TARGET_DIR:-target}/debug
    [[ -z $profile ]] || built=${CARGO_TARGET_DIR:-target}/release
    for program in "${programs[@]}"; do
        # Names of functions stay, for backtraces; what is only for a debugger is most of the file.
        [[ -e $folder/$program/$program && ! $built/$program -nt $folder/$program/$program ]] || strip --strip-debug -o "$fresh/$program" "$built/$program"
    done
fi

for program in "${programs[@]}"; do
    if [[ -e $fresh/$program ]] && ! cmp -s "$fresh/$program" "$folder/$program/$program"; then
        mkdir -p "$folder/$program"
        mv "$fresh/$program" "$folder/$program/$program"
        echo "new: $program"
    fi
done
