#!/bin/sh
# check_ptxas.sh SOURCE REPORTS : what ptxas and the PTX say of each CUDA kernel against the line that
# stands beside it:
#
#   ptxas budget: NAME registers R shared S [dynamic D] [blocks B] [loads16] [stores16]
#
# SOURCE holds the .cu files (budgets in headers are for every file), REPORTS what the build kept of
# each: FILE.ptxas (for every architecture) and FILE.o, whose PTX cuobjdump shows; without it
# (find_cuobjdump.sh) the check is skipped: exit 77. A kernel may use no more than its budget and
# may spill nothing; a kernel without a budget fails, and so does a budget without a kernel; loads16
# and stores16 ask for an access of 16 bytes in the PTX. B is the occupancy: how many blocks a
# processor holds at the same time, at least, by the kernel's launch bounds, its registers and its
# shared memory, of which D bytes are given at launch; on sm_80 D counts up to what a block may have
# there. Where no B stands it is 1, or what the launch bounds ask for.
set -eu
source=$1
reports=$2
cuobjdump=$(sh "$(dirname "$0")/find_cuobjdump.sh") || exit 77
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
  "$cuobjdump" -ptx "$reports/$name.o" >"$work/ptx"
  if ! awk -v file="$name" '
    function kernel_of(mangled,   n, best) {
      best = ""
      for (n in registers)
        if (index(mangled, length(n) n) && length(n) > length(best))
          best = n
      return best
    }
    function word_after(word,   i) {
      for (i = 1; i < NF; i++)
        if ($i == word) return $(i + 1) + 0
      return 0
    }
    function least_of(a, b) { return a < b ? a : b }
    # Blocks of so many threads, registers each and bytes that a processor of the architecture holds:
    # registers are given to a warp 256 at a time, shared memory a block 128 bytes at a time after 1 KiB.
    function blocks_of(arch, threads, used, bytes,   warps, by_registers, own, all) {
      warps = int((threads + 31) / 32)
      by_registers = int(65536 / (int((used * 32 + 255) / 256) * 256 * warps))
      all = arch ~ /sm_80/ ? 164 * 1024 : 228 * 1024
      own = int((least_of(bytes, all - 1024) + 127) / 128) * 128 + 1024
      return least_of(least_of(32, int(2048 / (warps * 32))), least_of(by_registers, int(all / own)))
    }
    function complain(text) {
      print "FAIL " file ": " text
      bad = 1
    }
    FNR == 1 { part++ }
    part == 1 {
      registers[$4] = $6; shared[$4] = $8; own[$4] = $1 == "own"
      loads[$4] = /loads16/; stores[$4] = /stores16/
      dynamic[$4] = word_after("dynamic"); least[$4] = word_after("blocks")
      next
    }
    # Anonymous namespaces are named anew by each compilation: instances are not told apart here.
    part == 2 && /\.entry / { entry = kernel_of($0); next }
    part == 2 && /\.maxntid/ { gsub(",", ""); size[entry] = $2 * $3 * $4; next }
    part == 2 && /\.minnctapersm/ { asked[entry] = $2 + 0; next }
    part == 2 { next }
    part == 3 && /Compiling entry function/ {
      split($0, word, "\047")
      kernel = kernel_of(word[2])
      where = kernel " on " word[4]
      if (kernel == "") complain("no budget for " word[2])
      else { seen[kernel] = 1; count++ }
      next
    }
    part == 3 && /bytes spill stores/ && kernel != "" {
      if (!/ 0 bytes spill stores, 0 bytes spill loads/) complain(where " spills: " $0)
    }
    part == 3 && /Used [0-9]+ registers/ && kernel != "" {
      match($0, /Used [0-9]+/); used = substr($0, RSTART + 5, RLENGTH - 5) + 0
      bytes = 0
      if (match($0, /[0-9]+ bytes smem/)) bytes = substr($0, RSTART, RLENGTH) + 0
      if (used > registers[kernel]) complain(where ": " used " registers of " registers[kernel])
      if (bytes > shared[kernel]) complain(where ": " bytes " bytes shared of " shared[kernel])
      if (!(kernel in size)) complain(where ": no launch bounds")
      else {
        held = blocks_of(word[4], size[kernel], used, bytes + dynamic[kernel])
        want = least[kernel] ? least[kernel] : word[4] ~ /sm_80/ ? 1 : asked[kernel]
        if (held < (want ? want : 1)) complain(where ": a processor holds " held " blocks, not " want)
      }
      kernel = ""
    }
    part == 4 && /\.entry / { entry = kernel_of($0); listed[entry] = 1; next }
    part == 4 && /ld(\.global)?(\.nc)?(\.[A-Za-z:0-9_]+)*\.v4\.[bfu]32/ { loaded[entry] = 1 }
    part == 4 && /st(\.global)?(\.[A-Za-z:0-9_]+)*\.v4\.[bfu]32/ { stored[entry] = 1 }
    END {
      for (n in registers) {
        if (own[n] && !seen[n]) complain("budget for " n ", which was not compiled")
        if (loads[n] && listed[n] && !loaded[n]) complain(n " loads no 16 bytes")
        if (stores[n] && listed[n] && !stored[n]) complain(n " stores no 16 bytes")
      }
      print count + 0 >"/dev/stderr"
      exit bad
    }' "$work/budgets" "$work/ptx" "$reports/$name.ptxas" "$work/ptx" 2>"$work/count"; then
    failed=1
  fi
  grep -vE '^[0-9]+$' "$work/count" && failed=1
  kernels=$((kernels + $(grep -E '^[0-9]+$' "$work/count" || echo 0)))
done

echo "$kernels kernels compiled, spills and budgets $([ $failed = 0 ] && echo kept || echo BROKEN)"
[ "$kernels" -gt 0 ] || failed=1
exit $failed
