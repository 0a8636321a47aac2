#!/bin/sh
# Fills .sqlx anew, after a change of a query or a migration; DATABASE_URL is a PostgreSQL for a scratch database.
exec "$(dirname -- "$0")/../../scripts/prepare-queries.sh" shop-api shop
