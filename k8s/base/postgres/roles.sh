#!/bin/bash
# Keeps the roles: waits for the server of this pod, makes them, and then waits for the end. The pod is ready when they are.
set -euo pipefail
trap 'exit 0' TERM INT

for name in blog booking shop lab; do
    if [[ ! -s /passwords/$name ]]; then
        echo "roles.sh: the secret postgres-passwords has no password for $name: run k8s/make-secrets.sh" >&2
        exit 1
    fi
done

# Over TCP: the server that only initializes the data listens on the socket alone.
until pg_isready --quiet --host 127.0.0.1; do sleep 0.5; done
psql --username postgres --dbname backends --no-psqlrc --file /roles/roles.sql
echo "roles: made, with the passwords of the secret postgres-passwords"
touch /tmp/ready
while :; do sleep 3600 & wait; done
