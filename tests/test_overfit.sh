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
# train MODEL EPOCHS WORDS... : with standard error in `stderr`, the log in `log`.
train() {
  model=$1
  epochs=$2
  shift 2
  rm -f log out.onnx*
  # shellcheck disable=SC2086
  "$fgsm" train $model "$data" --limit $limit --validation 0 --batch 50 --optimizer adam --lr 0.005 \
    --lr-peak 0.4 --weight-decay 0 --epochs "$epochs" --seed 3 --watch 50 --device cpu --threads 1 \
    --log log --out out.onnx "$@" >stdout 2>stderr </dev/null
  code=$?
  check "exit code $code: $*" test "$code" = 0
}
# thousandths NAME FILE : the last number of that name in the file.
thousandths() {
  sed -n "s/.*\"$1\": *\([0-9][0-9.]*\).*/\1/p" "$2" | tail -n 1 | awk '{ print int($1 * 1000 + 0.5) }'
}

# All begin with a net that knows its digits, trained plainly: from new weights, some seeds take most of
# their steps to leave the ground.
limit=6000
train '--arch mnist-cnn' 1 --method clean
mv out.onnx clean.onnx
limit=5000

train clean.onnx 6 --eps 0.3 --method fgsm --clean-share 0 --alpha 0.3 --on-overfit stop
says 'catastrophic overfitting' stderr
says '"overfit":true' log
silent 'rollback' log
check "it overfits, and yet withstands PGD" test "$(thousandths pgd_accuracy log)" -lt 30
says '"event":"stop"' log
check "stopped, and yet all epochs were trained" test "$(grep -c '"event":"epoch"' log)" -lt 6
# What is written is the net of the epoch that it went back to.
to=$(sed -n 's/.*"to_epoch":\([0-9]*\).*/\1/p' log)
grep "\"event\":\"watch\",\"epoch\":$to,\"step\":100," log >before
"$fgsm" attack out.onnx "$data" --limit 250 --eps 0.3 --exact --batch 50 --device cpu --threads 1 --json \
  >written 2>stderr
check "epoch $to was left with another accuracy" \
  test "$(thousandths clean_accuracy before)" = "$(thousandths clean_accuracy written)"
check "epoch $to withstood FGSM otherwise" \
  test "$(thousandths fgsm_accuracy before)" = "$(thousandths adversarial_accuracy written)"

train clean.onnx 6 --eps 0.3 --method fgsm --clean-share 0 --alpha 0.3 --on-overfit rollback
says '"event":"rollback"' log
says '"event":"epoch","epoch":6,' log
check "gone back, and yet it overfits" test "$(tail -n 2 log | grep -c '"overfit":false')" = 1
check "gone back, and yet PGD breaks all of it" test "$(thousandths pgd_accuracy log)" -gt 40

# Goodfellow's half mix, which goes on.
train clean.onnx 3 --eps 0.3 --method fgsm --alpha 0.3
says 'catastrophic overfitting' stderr
says '"event":"epoch","epoch":3,' log
check "the mix overfits, and yet withstands PGD" test "$(thousandths pgd_accuracy log)" -lt 30

train clean.onnx 3 --eps 0.3 --method rs-fgsm --alpha 0.375
silent 'catastrophic overfitting' stderr
check "rs-fgsm learns nothing" test "$(thousandths clean_accuracy log)" -gt 900

if [ $failures -gt 0 ]; then
  echo "$failures failures in $checks checks"
  exit 1
fi
echo "$checks checks, 0 failed"
