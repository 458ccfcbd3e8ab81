#!/bin/sh
# check_layers.sh SOURCE COMPILE_COMMANDS : the include rules of the house are those of the build.
# Takes the very command that compiles a file of a layer, and shows that a forbidden include does not
# compile with it while an allowed one does; and that no include climbs out of its folder.
set -eu
source=$1
commands=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

climbing=$(grep -rn --include='*.[ch]' --include='*.cu' '#include *"[^"]*\.\./' \
  "$source/host" "$source/kernels" "$source/include" || true)
if [ -n "$climbing" ]; then
  echo "includes that climb out of their folder:"
  echo "$climbing"
  failed=1
fi

# The include paths and definitions with which the layer's first file is compiled.
flags_of() {
  grep -h "\"command\".*-c $source/$1/[a-z0-9_]*\.c" "$commands" | head -n 1 |
    tr ' ' '\n' | grep -e '^-I' -e '^-D' -e '^-std' | tr '\n' ' '
}

# compiles LAYER-FOLDER HEADER
compiles() {
  printf '#include "%s"\nint x;\n' "$2" >"$work/probe.c"
  # shellcheck disable=SC2046
  (cd "$work" && ${CC:-cc} $(flags_of "$1") -fsyntax-only probe.c) >"$work/log" 2>&1
}

may() {
  if ! compiles "$1" "$2"; then
    echo "$1 should be able to include $2:"
    cat "$work/log"
    failed=1
  fi
}

may_not() {
  if compiles "$1" "$2"; then
    echo "$1 can include $2, which it must not know"
    failed=1
  elif ! grep -q 'No such file\|file not found' "$work/log"; then
    echo "$1 with $2 failed for another reason:"
    cat "$work/log"
    failed=1
  fi
}

# A layer sees itself, the seam, the public header, and the layers below.
may host/base base.h
may host/base kernel.h
may host/graph graph.h
may host/ops op.h
may host/attack onnx.h
may host/pipe io.h
may host/inspect job.h
may host/bench job.h
may host/cli fgsm.h
may host/device options.h
may host/pipe device.h
may host/train device.h
may host/train attack.h
may kernels/ref kernel.h
may kernels/cpu attrs.h

# And nothing else.
may_not host/base graph.h
may_not host/graph onnx.h
may_not host/graph pipe.h
may_not host/ops onnx.h
may_not host/onnx attack.h
may_not host/attack io.h
may_not host/attack device.h
may_not host/graph device.h
may_not host/device graph.h
may_not host/attack pipe.h
may_not host/attack train.h
may_not host/pipe train.h
may_not host/train job.h
may_not host/inspect bench.h
may_not host/pipe bench.h
may_not host/bench describe.h
may_not host/pipe describe.h
may_not host/io graph.h
may_not host/io onnx.h
may_not host/cli base.h
may_not host/cli options.h
may_not host/cli kernel.h
may_not kernels/ref base.h
may_not kernels/ref graph.h
may_not kernels/cpu base.h
for header in "$source"/kernels/ref/*.h; do
  [ -e "$header" ] || continue
  may_not kernels/cpu "${header##*/}"
  may_not host/graph "${header##*/}"
done
for header in "$source"/kernels/cpu/*.h; do
  [ -e "$header" ] || continue
  may_not kernels/ref "${header##*/}"
  may_not host/graph "${header##*/}"
done

# shellcheck disable=SC2015
[ "$failed" = 0 ] && echo "the layers see what they may see, and no more" || exit 1
