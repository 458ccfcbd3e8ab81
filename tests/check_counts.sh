#!/bin/sh
# check_counts.sh BENCH_OPS RESULTS : what bench/RESULTS.md says that its calls move and compute is what
# the program counts now.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$1" --count | sed '1,2d' >"$work/counted"
awk -F ' *\\| *' -v counted="$work/counted" '
  BEGIN { while ((getline line < counted) > 0) known[line] = 1 }
  NF > 8 && $5 ~ /^[0-9,]+$/ {
    row = "|"
    for (i = 3; i <= 8; i++) {
      field = $i
      if (i > 4) gsub(/,/, "", field)
      row = row " " field " |"
    }
    rows++
    if (!(row in known)) { print "FAIL not what is counted: " row; bad = 1 }
  }
  END {
    if (!rows) { print "FAIL no row of counts"; exit 1 }
    print rows " rows of counts compared"
    exit bad
  }' "$2"
