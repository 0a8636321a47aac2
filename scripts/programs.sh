# shellcheck shell=bash disable=SC2034 # used by those who source it
# The programs of the image, and the features that they have in a cluster; sourced at the top of the repository. The Dockerfile has
# the lists, since its builds may see no script.
read -r -a programs <<<"$(sed -n 's/^ARG PROGRAMS="\(.*\)"$/\1/p' Dockerfile)"
features=$(sed -n 's/^ARG FEATURES="\(.*\)"$/\1/p' Dockerfile)
packages=()
for program in "${programs[@]}"; do packages+=(-p "$program"); done
