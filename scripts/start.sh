#!/bin/sh
# npm start: from a fresh clone to a running cluster with a demo. More flags go to `pintle up`: npm start -- --nodes 5
set -eu
cd "$(dirname "$0")/.."
sh scripts/prepare.sh
exec node out/cli/main.js up --demo "$@"
