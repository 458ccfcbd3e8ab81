#!/bin/sh
# check_ptxas.sh SOURCE REPORTS : what ptxas and the PTX say of each CUDA kernel against the line that
# stands beside it:
#
#   ptxas budget: NAME registers R shared S [loads16] [stores16]
#
# SOURCE holds the .cu files (budgets in headers are for every file), REPORTS what the build kept of
# each: FILE.ptxas (for every architecture) and FILE.ptx. A kernel may use no more than its budget and
# may spill nothing; a kernel without a budget fails, and so does a budget without a kernel; loads16
# and stores16 ask for an access of 16 bytes in the PTX.
set -eu
source=$1
reports=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
kernels=0

for cu in "$source"/*.cu; do
  name=$(basename "$cu" .cu)
  # The files' own budgets, then the headers', each marked.
  { grep -ho 'ptxas budget: [a-z_0-9]* registers.*' "$cu" | sed 's/^/own /' || true
    cat "$source"/*.h "$source"/*.cuh | grep -o 'ptxas budget: [a-z_0-9]* registers.*' | sed 's/^/shared /' || true
  } >"$work/budgets"
  if ! awk -v file="$name" '
    function kernel_of(mangled,   n, best) {
      best = ""
      for (n in registers)
        if (index(mangled, length(n) n) && length(n) > length(best))
          best = n
      return best
    }
    function complain(text) {
      print "FAIL " file ": " text
      bad = 1
    }
    FNR == 1 { part++ }
    part == 1 {
      registers[$4] = $6; shared[$4] = $8; own[$4] = $1 == "own"
      loads[$4] = /loads16/; stores[$4] = /stores16/
      next
    }
    part == 2 && /Compiling entry function/ {
      split($0, word, "\047")
      kernel = kernel_of(word[2])
      where = kernel " on " word[4]
      if (kernel == "") complain("no budget for " word[2])
      else { seen[kernel] = 1; count++ }
      next
    }
    part == 2 && /bytes spill stores/ && kernel != "" {
      if (!/ 0 bytes spill stores, 0 bytes spill loads/) complain(where " spills: " $0)
    }
    part == 2 && /Used [0-9]+ registers/ && kernel != "" {
      match($0, /Used [0-9]+/); used = substr($0, RSTART + 5, RLENGTH - 5) + 0
      bytes = 0
      if (match($0, /[0-9]+ bytes smem/)) bytes = substr($0, RSTART, RLENGTH) + 0
      if (used > registers[kernel]) complain(where ": " used " registers of " registers[kernel])
      if (bytes > shared[kernel]) complain(where ": " bytes " bytes shared of " shared[kernel])
      kernel = ""
    }
    part == 3 && /\.entry / { entry = kernel_of($0); listed[entry] = 1; next }
    part == 3 && /ld(\.global)?(\.nc)?(\.[A-Za-z:0-9_]+)*\.v4\.[bfu]32/ { loaded[entry] = 1 }
    part == 3 && /st(\.global)?(\.[A-Za-z:0-9_]+)*\.v4\.[bfu]32/ { stored[entry] = 1 }
    END {
      for (n in registers) {
        if (own[n] && !seen[n]) complain("budget for " n ", which was not compiled")
        if (loads[n] && listed[n] && !loaded[n]) complain(n " loads no 16 bytes")
        if (stores[n] && listed[n] && !stored[n]) complain(n " stores no 16 bytes")
      }
      print count + 0 >"/dev/stderr"
      exit bad
    }' "$work/budgets" "$reports/$name.ptxas" "$reports/$name.ptx" 2>"$work/count"; then
    failed=1
  fi
  grep -vE '^[0-9]+$' "$work/count" && failed=1
  kernels=$((kernels + $(grep -E '^[0-9]+$' "$work/count" || echo 0)))
done

echo "$kernels kernels compiled, spills and budgets $([ $failed = 0 ] && echo kept || echo BROKEN)"
[ "$kernels" -gt 0 ] || failed=1
exit $failed
