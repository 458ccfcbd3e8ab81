#!/bin/sh
# test_overfit.sh FGSM SOURCE : on MNIST's net, FGSM from the clean sample and Goodfellow's half mix
# overfit catastrophically, and the watch says so while they train; of rs-fgsm it says nothing. What
# --on-overfit promises is what happens. Skipped (77) where there is no MNIST in FGSM_TEST_DATA.
set -u
fgsm=$1
data=${FGSM_TEST_DATA:-$2/../shared/data}/mnist/train-images-idx3-ubyte.gz
[ -r "$data" ] || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
checks=0
failures=0

fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}
# check MESSAGE COMMAND... : that the command succeeds.
check() {
  message=$1
  shift
  checks=$((checks + 1))
  "$@" || fail "$message: $(cat stderr log)"
}
says() {
  check "$2 does not say '$1'" grep -q -e "$1" "$2"
}
silent() {
  check "$2 says '$1'" test "$(grep -c -e "$1" "$2")" = 0
}
# train WORDS... : with standard error in `stderr`, the log in `log`.
train() {
  rm -f log out.onnx*
  "$fgsm" train --arch mnist-cnn "$data" --eps 0.3 --limit 12000 --validation 0 --batch 100 \
    --optimizer adam --lr 0.005 --lr-peak 0.4 --weight-decay 0 --epochs 6 --watch 40 --device cpu \
    --threads 1 --log log --out out.onnx "$@" >stdout 2>stderr </dev/null
  code=$?
  check "exit code $code: $*" test "$code" = 0
}
# The log's number NAME at the last look, in thousandths.
last() {
  grep '"event":"watch"' log | tail -n 1 | sed "s/.*\"$1\":\([0-9.]*\).*/\1/" |
    awk '{ print int($1 * 1000) }'
}

train --method fgsm --clean-share 0 --alpha 0.3
says 'catastrophic overfitting' stderr
says '"overfit":true' log
silent 'rollback' log
check "it overfits, and yet withstands PGD" test "$(last pgd_accuracy)" -lt 200
cp out.onnx overfit.onnx

train --method fgsm --alpha 0.3
says 'catastrophic overfitting' stderr

train --method rs-fgsm --alpha 0.375
silent 'catastrophic overfitting' stderr

train --method fgsm --clean-share 0 --alpha 0.3 --on-overfit stop
says '"event":"stop"' log
check "stopped, and yet all epochs were trained" test "$(grep -c '"event":"epoch"' log)" -lt 6
check "stopped, and yet the overfit net was written" test "$(cmp out.onnx overfit.onnx)"

train --method fgsm --clean-share 0 --alpha 0.3 --on-overfit rollback
says '"event":"rollback"' log
says '"event":"epoch","epoch":6,' log
check "gone back, and yet it overfits" test "$(last pgd_accuracy)" -gt 200

if [ $failures -gt 0 ]; then
  echo "$failures failures in $checks checks"
  exit 1
fi
echo "$checks checks, 0 failed"
