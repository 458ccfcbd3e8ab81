#!/bin/sh
# test_choice_cache.sh CHOICE-CACHE : what one process chose another finds; what was spoilt, or is
# another key's, is not found; a folder that cannot be written costs nothing but time.
set -u
tool=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
fail() {
  echo "$*"
  failed=1
}
XDG_CACHE_HOME=$work/cache
export XDG_CACHE_HOME

"$tool" find 'conv fp32 x' >/dev/null && fail 'found before it was kept'
"$tool" keep 'conv fp32 x' 'bare  {"a plan": 1}' || fail 'was not kept'
[ "$("$tool" find 'conv fp32 x')" = 'bare  {"a plan": 1}' ] || fail 'another process does not find it'
"$tool" find 'conv fp32 y' >/dev/null && fail 'found under another key'
file=$(echo "$XDG_CACHE_HOME"/fgsm/*.choice)
[ "$(stat -c %a "$file")" = 600 ] || fail "the file is open to others: $(stat -c %a "$file")"
[ "$(find "$XDG_CACHE_HOME/fgsm" -type f | wc -l)" = 1 ] || fail 'temporary files are left'
sed -i '2s/plan/plum/' "$file"
"$tool" find 'conv fp32 x' >/dev/null && fail 'found though it was damaged'
"$tool" keep 'conv fp32 x' 'bare  {"a plan": 1}' || fail 'was not kept again'
"$tool" find 'conv fp32 x' >/dev/null || fail 'not found after it was kept again'
sed -i '1s/x/z/' "$file"
"$tool" find 'conv fp32 x' >/dev/null && fail "found where another key's choice lies"
: >"$file"
"$tool" find 'conv fp32 x' >/dev/null && fail 'found in an empty file'
XDG_CACHE_HOME=/proc/nowhere "$tool" keep 'conv fp32 x' text 2>"$work/log" || fail 'a full disk is fatal'
grep -q 'in memory alone' "$work/log" || fail 'a folder that cannot be written is not noticed'
[ "$failed" = 0 ] && echo 'choices are kept as they should be'
exit "$failed"
