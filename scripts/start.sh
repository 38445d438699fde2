#!/bin/sh
# npm start: from a fresh clone to a running cluster with a demo. More flags go to `pintle up`: npm start -- --nodes 5
set -eu
cd "$(dirname "$0")/.."
sh scripts/prepare.sh
# npm runs this under a shell that dies of SIGTERM without a word to its children
exec setpriv --pdeathsig TERM node out/cli/main.js up --demo "$@"
