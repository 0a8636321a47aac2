# shellcheck shell=bash disable=SC2034 # used by those who source it
# The programs, for the scripts that build each of them; sourced at the top of the repository. The Dockerfile has the list of the
# services, since its builds may see no script.
read -r -a services <<<"$(sed -n 's/^ARG SERVICES="\(.*\)"$/\1/p' Dockerfile)"
programs=("${services[@]}" lab)
packages=()
for program in "${programs[@]}"; do packages+=(-p "$program"); done
# In a cluster: the strategy k8s-lease, and the lab that finds the replicas.
features=booking-api/k8s,lab/k8s
