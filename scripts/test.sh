#!/bin/sh
# npm test: everything. npm test -- unit lab: only those lanes.
set -eu
cd "$(dirname "$0")/.."
sh scripts/prepare.sh
exec node out/scripts/run-tests.js "$@"
