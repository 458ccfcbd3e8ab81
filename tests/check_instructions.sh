#!/bin/sh
# check_instructions.sh PROGRAM MODEL BASELINE [--write] : the instructions of fixed small pieces of work
# (bench/instructions.c), counted by callgrind, are within 3 % of those that are kept in BASELINE. Unlike
# time they do not depend on what else the machine does. valgrind shows every program the same processor,
# one with AVX2, so they do not depend on the machine's either, as long as it has AVX2 itself.
#
# What they do depend on stands in BASELINE's first line; where it is another here, the test is skipped
# (77) and says so. After a change that is meant to change them, --write keeps the new counts; where
# fewer instructions are run than are kept it wants that too, so that the gain is kept.
set -eu
program=$1 model=$2 baseline=$3 write=${4-}
percent=3

skip() {
  echo "SKIP: $*"
  exit 77
}
command -v valgrind >/dev/null || skip 'valgrind is not installed (scripts/install-deps does that)'
grep -qw avx2 /proc/cpuinfo || skip 'this processor has no AVX2'
here="$("$program" --made-by); $(valgrind --version)"
[ "$write" = --write ] || [ "$(head -n 1 "$baseline")" = "# $here" ] ||
  skip "the counts were made by $(head -n 1 "$baseline" | cut -c3-), and here is $here"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
OMP_NUM_THREADS=1 ONEDNN_MAX_CPU_ISA=AVX2 valgrind --tool=callgrind --collect-atstart=no \
  --toggle-collect=counted --dump-after=counted --callgrind-out-file="$work/out" \
  "$program" "$model" >"$work/names" 2>"$work/log" || {
  cat "$work/log" >&2
  exit 1
}
# A file for each time that `counted` was left, out.1 first; its total stands in a line of its own.
n=0
while read -r name; do
  n=$((n + 1))
  count=$(sed -n 's/^summary: //p' "$work/out.$n")
  [ "${count:-0}" -gt 0 ] || {
    echo "FAIL nothing was counted of '$name'"
    exit 1
  }
  printf '%s\t%s\n' "$count" "$name"
done <"$work/names" >"$work/counts"
if [ "$n" -eq 0 ] || [ -e "$work/out.$((n + 1))" ]; then
  echo "FAIL $n names for another number of counts"
  exit 1
fi

if [ "$write" = --write ]; then
  { echo "# $here"; cat "$work/counts"; } >"$baseline"
  echo "kept $n counts in $baseline"
  exit 0
fi
awk -F '\t' -v percent=$percent '
  /^#/ { next }
  NR == FNR { kept[$2] = $1; known++; next }
  {
    seen++
    if (!($2 in kept)) { printf "FAIL no count is kept of: %s\n", $2; bad = 1; next }
    change = 100 * ($1 / kept[$2] - 1)
    wrong = change > percent || change < -percent
    bad = bad || wrong
    printf "%s %+7.2f %%  %11d instead of %11d  %s\n", wrong ? "FAIL" : "ok  ", change, $1, kept[$2], $2
  }
  END {
    if (seen != known) { printf "FAIL %d counts, and %d are kept\n", seen, known; bad = 1 }
    if (bad) print "Where that is meant: sh tests/check_instructions.sh PROGRAM MODEL BASELINE --write"
    exit bad
  }' "$baseline" "$work/counts"
