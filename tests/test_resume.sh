#!/bin/sh
# test_resume.sh FGSM SOURCE : a training that is killed, interrupted, out of disk or given nonsense loses
# nothing but the running epoch, and goes on to the very weights that it would have come to.
set -u
fgsm=$1
model=$2/examples/glyphs.onnx
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
checks=0
failures=0

fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}
check() {
  checks=$((checks + 1))
}
# expect CODE COMMAND... : runs it, with standard error in `stderr`.
expect() {
  want=$1
  shift
  check
  "$@" >stdout 2>stderr </dev/null
  code=$?
  [ "$code" = "$want" ] || fail "exit code $code, not $want: $*: $(cat stderr)"
}
says() {
  check
  grep -q -e "$1" stderr || fail "standard error does not say '$1': $(cat stderr)"
}

# ---- data: 400 images whose bytes are those of the model file, four times over, and labels
{
  printf '\000\000\010\003\000\000\001\220\000\000\000\034\000\000\000\034'
  cat "$model" "$model" "$model" "$model" | head -c 313600
} >images-idx3-ubyte
labels() {
  printf '\000\000\010\001\000\000\001\220'
  i=0
  while [ $i -lt 100 ]; do
    # shellcheck disable=SC2059
    printf "$@"
    i=$((i + 1))
  done
}
labels '\001\002\003\004' >labels-idx1-ubyte

# Adam with averaged weights, augmentation and noise: all that a run keeps.
# $run: exec where a signal is to reach the command itself, and not a shell around it.
run=
train() {
  $run "$fgsm" train "$model" images-idx3-ubyte --method rs-fgsm --eps 0.1 --batch 20 --epochs 12 \
    --optimizer adam --lr 0.001 --ema 0.99 --augment crop --init torch --seed 5 --threads 1 \
    --device cpu "$@"
}
expect 0 train --out whole.onnx --log whole.jsonl
[ -s whole.onnx.checkpoint ] || fail "there is no checkpoint"

# ---- killed: at several moments of its life
for delay in 0.3 0.6 0.9 1.2; do
  check
  rm -f killed.onnx*
  (run=exec && train --out killed.onnx --log killed.jsonl) >/dev/null 2>&1 &
  victim=$!
  i=0
  while [ ! -e killed.onnx.checkpoint ] && [ $i -lt 300 ]; do
    sleep 0.1
    i=$((i + 1))
  done
  sleep "$delay"
  kill -9 $victim 2>/dev/null && killed=$((${killed-0} + 1))
  wait $victim 2>/dev/null
  expect 0 train --out killed.onnx --log killed.jsonl --resume
  cmp -s whole.onnx killed.onnx || fail "killed after $delay s and resumed, another model came out"
  [ "$(grep -c '"event":"epoch"' killed.jsonl)" = 12 ] || fail "a resumed run's log lacks epochs"
  rm -f killed.onnx.*.part
done
check
[ "${killed-0}" -ge 1 ] || fail "every run was over before it was killed"

# ---- interrupted: at once, within an epoch, exit code 130
check
rm -f broken.onnx*
(run=exec && train --out broken.onnx) >stdout 2>stderr &
victim=$!
i=0
while [ ! -e broken.onnx.checkpoint ] && [ $i -lt 300 ]; do
  sleep 0.1
  i=$((i + 1))
done
kill -TERM $victim # a shell has its background jobs ignore SIGINT
wait $victim
code=$?
[ $code = 130 ] || fail "interrupted: exit code $code: $(cat stderr)"
says "with --resume goes on"
[ ! -e broken.onnx ] || fail "an interrupted run wrote its model"
expect 0 train --out broken.onnx --resume
cmp -s whole.onnx broken.onnx || fail "interrupted and resumed, another model came out"

# ---- a run that is over, another run, a damaged checkpoint, none
cp whole.onnx.checkpoint over.checkpoint
expect 0 train --out over.onnx --checkpoint over.checkpoint --resume
cmp -s whole.onnx over.onnx || fail "a run that was over came to another model"
expect 2 train --checkpoint over.checkpoint --resume --lr 0.002
says "lr was 0.001"
expect 2 train --resume
says "needs --checkpoint"
head -c 10000 over.checkpoint >short.checkpoint
expect 4 train --checkpoint short.checkpoint --resume
says "damaged"
cp over.checkpoint bent.checkpoint
printf x | dd of=bent.checkpoint bs=1 seek=9000 conv=notrunc 2>/dev/null
expect 4 train --checkpoint bent.checkpoint --resume
says "damaged"
rm -f none.checkpoint
expect 0 train --epochs 1 --checkpoint none.checkpoint --resume
says "training begins"

# ---- a full disk: an error, and the checkpoint as it was
cp over.checkpoint kept.checkpoint
expect 4 sh -c "ulimit -f 8; exec '$fgsm' train '$model' images-idx3-ubyte --method rs-fgsm --eps 0.1 \
  --epochs 2 --checkpoint kept.checkpoint"
says "kept.checkpoint"
cmp -s over.checkpoint kept.checkpoint || fail "a full disk damaged the checkpoint"

# ---- a loss that is not a number: which value first, and what is kept
expect 1 train --out high.onnx --optimizer sgd --lr 1e6 --lr-schedule constant
says "not a number, and the first that is not finite is [a-z_]* '.*' -> "
[ ! -e high.onnx ] || fail "a run without a loss wrote its model"

# ---- labels that cannot be
labels '\001\002\003\377' >labels-idx1-ubyte
expect 4 train
says "has label 255"
labels '\001\001\001\001' >labels-idx1-ubyte
expect 4 train
says "nothing to tell apart"
labels '\001\002\003\001' >labels-idx1-ubyte
expect 0 train --epochs 1
says "classes have no sample"

echo "$checks checks, $failures failed"
[ "$failures" = 0 ] && [ "$checks" -gt 30 ]
