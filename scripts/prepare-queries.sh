#!/bin/sh
# prepare-queries.sh APP SCHEMA
# Fills apps/APP/.sqlx anew: what sqlx's macros know about each query when the crate is compiled without a database.
# Run it (by way of the app's own prepare-queries.sh) after a change of a query or a migration, with DATABASE_URL pointing
# to a PostgreSQL in which a scratch database may be made, and commit the result. (`cargo sqlx prepare` does the same and
# needs sqlx-cli.) The test `queries` fails when this was forgotten.
set -eu

app=$1
schema=$2
: "${DATABASE_URL:?must be the URL of a PostgreSQL server, such as postgres://user@localhost/postgres}"
here=$(CDPATH='' cd -- "$(dirname -- "$0")/../apps/$app" && pwd)
scratch="${schema}_queries_$$"
case $DATABASE_URL in
    *\?*) echo "error: DATABASE_URL must have no parameters" >&2; exit 64 ;;
esac
server=${DATABASE_URL%/*}

psql -qX "$DATABASE_URL" -c "create database $scratch"
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"; psql -qX "$DATABASE_URL" -c "drop database if exists $scratch with (force)"' EXIT INT TERM

# Without a search path every table is named with its schema, whoever the user is.
psql -qX "$server/$scratch" -v ON_ERROR_STOP=1 -c "create schema $schema" -c "alter database $scratch set search_path = ''"
# The outbox's tables, which a service's own statements may write.
sed "s/{schema}/$schema/g" "$here/../../crates/outbox/src/migrations/0001_outbox.sql" |
    psql -qX "$server/$scratch" -v ON_ERROR_STOP=1
for migration in "$here"/migrations/*.sql; do
    psql -qX "$server/$scratch" -v ON_ERROR_STOP=1 -f "$migration"
done

cd "$here"
# The macros run only if the crate is compiled.
touch src/lib.rs
DATABASE_URL="$server/$scratch" SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$fresh" cargo check --quiet --package "$app" --lib
rm -rf .sqlx
mkdir .sqlx
cp "$fresh"/query-*.json .sqlx/
echo "$(find .sqlx -name 'query-*.json' | wc -l) queries in $here/.sqlx"
