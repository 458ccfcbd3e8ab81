#!/bin/sh
# check_dist.sh SOURCE BUILD JSON-GET : the tree of scripts/dist runs where it was moved to, with nothing
# of the build's; its gpu-check passes on the fake card, and fails on one that breaks.
set -u
source=$1 build=$2 json_get=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
fail() {
  echo "$*"
  failed=1
}

"$source/scripts/dist" --built --build "$build" --out "$work/tree" >"$work/log" 2>&1 || {
  cat "$work/log"
  exit 1
}
mv "$work/tree" "$work/moved"
tree=$work/moved
bare() {
  env -i PATH=/usr/bin:/bin HOME="$work" OMP_NUM_THREADS=2 "$@"
}
bare "$tree/bin/fgsm" version >"$work/log" || fail 'the command does not run'
for file in "$tree"/bin/* "$tree"/lib/*; do
  # The C library is the system's, the rest the tree's.
  bare ldd "$file" 2>/dev/null | grep '=> /' | grep -v "=> $tree/" |
    grep -v -E '/lib(c|m|dl|rt|pthread|resolv)\.so' && fail "$file takes more from the system"
done
[ -n "$(ls "$tree/share/licenses")" ] || fail 'no licences'

# What compares with PyTorch finds its other half.
for module in $(sed -n 's/^import \(torch_[a-z]*\)$/\1/p' "$tree"/share/fgsm/*.py | sort -u); do
  [ -f "$tree/share/fgsm/$module.py" ] || fail "$module.py is not in the tree"
done
[ -n "${module-}" ] || fail 'nothing compares with PyTorch'

check() {
  steps=$1
  shift
  bare FGSM_PLUGIN_PATH="$build/tests/fake" "$@" "$tree/bin/gpu-check" --out "$work/out" \
    --only "$steps" >"$work/log" 2>&1
}
check pipeline || { cat "$work/log"; fail 'gpu-check fails on a card that is well'; }
check cases,nets,training FAKE_INNER=ref || { cat "$work/log"; fail 'gpu-check fails on a card that is well'; }
for i in 0 1 2; do
  [ "$("$json_get" steps $i status <"$work/out/gpu-check.json")" = ok ] || fail "step $i is not ok"
done
check cases FAKE_FAIL=run:20 && fail 'gpu-check passes on a card that breaks'
[ "$("$json_get" steps 0 status <"$work/out/gpu-check.json")" = FAILED ] || fail 'and does not say so'
bare "$tree/bin/gpu-check" --out "$work/none" --device cuda:9 >"$work/log" 2>&1
[ $? = 5 ] || fail 'gpu-check goes on without a card'
exit $failed
