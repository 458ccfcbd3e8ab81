#!/bin/sh
# check_exports.sh LIBFGSM.SO : the library exports what fgsm.h declares, and nothing else.
set -eu
names=$(nm -D --defined-only "$1" | awk '$2 ~ /[A-Z]/ { print $3 }')
wrong=$(printf '%s\n' "$names" | grep -v '^fgsm_' || true)
if [ -n "$wrong" ]; then
  echo "exported without the prefix fgsm_:"
  echo "$wrong"
  exit 1
fi
header=$(dirname "$0")/../include/fgsm.h
missing=0
for name in $(tr '\n' ' ' <"$header" | grep -o 'FGSM_API [^;]*(' | grep -o 'fgsm_[a-z_]*(' | tr -d '(' | sort -u); do
  if ! printf '%s\n' "$names" | grep -qx "$name"; then
    echo "declared in fgsm.h but not exported: $name"
    missing=1
  fi
done
count=$(printf '%s\n' "$names" | grep -c '^fgsm_' || true)
echo "$count functions are exported"
[ "$missing" = 0 ] && [ "$count" -gt 20 ]
