#!/bin/sh
# check_suites.sh FGSM-TESTS SUITE... : every suite in the binary is one that CTest runs, and the other
# way round.
set -eu
binary=$1
shift
"$binary" --list 2>&1 | sed -n 's/^\([a-z0-9_]*\): .*test.*/\1/p' | sort >"${TMPDIR:-/tmp}/suites.$$"
trap 'rm -f "${TMPDIR:-/tmp}/suites.$$"' EXIT
if ! printf '%s\n' "$@" | sort | diff - "${TMPDIR:-/tmp}/suites.$$"; then
  echo "the suites that CTest runs (<) are not those in the binary (>)"
  exit 1
fi
echo "all $# suites are run"
