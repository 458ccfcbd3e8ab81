#!/bin/sh
# check_sass.sh SOURCE OBJECTS : what the machine code of each CUDA kernel holds, against the line
# that stands beside it (check_ptxas.sh has its other words):
#
#   ptxas budget: NAME ... [loads16] [stores16] [shared16] [mma] [async] [local]
#
# 16 bytes at a time from device memory, to it, from shared memory; tensor cores; copies to shared
# memory that are not waited for. Some instance of the kernel must have each on every architecture.
# No kernel may touch local memory, but where `local` says that a function of CUDA's does.
#
# Without cuobjdump (find_cuobjdump.sh) the check is skipped: exit 77.
set -eu
source=$1
objects=$2
cuobjdump=$(sh "$(dirname "$0")/find_cuobjdump.sh") || exit 77
tools=$(cd "$(dirname "$cuobjdump")" && pwd)
objects=$(cd "$objects" && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
functions=0
for cu in "$source"/*.cu; do
  name=$(basename "$cu" .cu)
  # The headers of all files give budgets too; a file answers for those that it has compiled.
  cat "$cu" "$source"/*.h "$source"/*.cuh |
    grep -o 'ptxas budget: [a-z_0-9]* registers.*' >"$work/budgets" || :
  # Of each architecture's code the bare instructions: their bits and what flows through them, which
  # cuobjdump -sass tells or finds out too, take a quarter of the time.
  rm -f "$work"/*.cubin "$work/sass"
  (cd "$work" && "$tools/cuobjdump" -xelf all "$objects/$name.o" >/dev/null)
  for cubin in "$work"/*.cubin; do # it warns of branches by a table
    "$tools/nvdisasm" -ndf -c "$cubin" >>"$work/sass" 2>"$work/said" || { cat "$work/said" >&2 && exit 1; }
  done
  awk -v file="$name" '
    function kernel_of(mangled,   n, best) {
      best = ""
      for (n in wanted)
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
      wanted[$3] = $0 " "
      next
    }
    $1 == ".target" { arch = $2; next }
    /^\.text\..*:$/ {
      kernel = kernel_of($1)
      if (kernel == "") complain("no budget for " $1)
      compiled[kernel, arch] = 1
      count++
      next
    }
    /LDG\.E[.A-Z0-9]*\.128/ { has[kernel, arch, "loads16"] = 1 }
    /STG\.E[.A-Z0-9]*\.128/ { has[kernel, arch, "stores16"] = 1 }
    /LDS[.A-Z0-9]*\.128/ { has[kernel, arch, "shared16"] = 1 }
    /HMMA\./ { has[kernel, arch, "mma"] = 1 }
    /LDGSTS/ { has[kernel, arch, "async"] = 1 }
    /[ \t](LDL|STL)[. ]/ { locals[kernel, arch] = 1 }
    END {
      split("loads16 stores16 shared16 mma async", words)
      for (key in compiled) {
        split(key, k, SUBSEP)
        for (w = 1; w in words; w++)
          if (index(wanted[k[1]], " " words[w] " ") && !((k[1], k[2], words[w]) in has))
            complain(k[1] " on " k[2] ": no " words[w])
        if (key in locals && index(wanted[k[1]], " local ") == 0) complain(k[1] " on " k[2] ": touches local memory")
      }
      print count + 0 >"/dev/stderr"
      exit bad
    }' "$work/budgets" "$work/sass" 2>"$work/count" || failed=1
  functions=$((functions + $(cat "$work/count")))
done

echo "$functions kernels disassembled, instructions $([ $failed = 0 ] && echo 'as meant' || echo 'NOT as meant')"
[ "$functions" -gt 0 ] || failed=1
exit $failed
