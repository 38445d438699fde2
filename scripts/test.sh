#!/bin/sh
# npm test: everything. npm test -- unit lab: only those lanes.
set -eu
cd "$(dirname "$0")/.."
sh scripts/prepare.sh
# npm runs this under a shell that dies of SIGTERM without a word to its children
exec setpriv --pdeathsig TERM node out/scripts/run-tests.js "$@"
