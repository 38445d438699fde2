#!/bin/sh
# Installs when node_modules does not hold what the lock file asks for, then builds. One line a step, with its time.
set -eu
cd "$(dirname "$0")/.."

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  echo 'Pintle needs Node 20.19 or newer, and npm. On Debian: apt-get install nodejs npm' >&2
  exit 1
fi
if ! node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)'; then
  echo "Pintle needs Node 20.19 or newer, this is $(node --version). See https://nodejs.org" >&2
  exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
step() {
  name=$1
  shift
  began=$(date +%s%N)
  # on a terminal: what is going on, until the line of the result is written over it
  if [ -t 1 ]; then printf '        %s ...\r' "$name"; fi
  if ! "$@" >"$log" 2>&1; then
    cat "$log" >&2
    echo "$name failed: $*" >&2
    exit 1
  fi
  printf 'ok      %-34s %5d ms\n' "$name" $((($(date +%s%N) - began) / 1000000))
}

if ! node scripts/is-installed.js; then
  # No package's script has to run: the compiled ones bring their programs along.
  step 'npm packages' npm ci --ignore-scripts --no-progress --loglevel=error
  # But this one, which is optional: where it is missing, overlay flannel-udp says what it uses instead.
  if command -v g++ >/dev/null && command -v make >/dev/null && command -v python3 >/dev/null; then
    step 'raw-socket' sh -c 'npm rebuild raw-socket --no-progress --loglevel=error || true'
  fi
fi
step 'build' node node_modules/typescript/bin/tsc -b
