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

# ---- data: 220 images whose bytes are those of the model file, three times over, and labels
{
  printf '\000\000\010\003\000\000\000\334\000\000\000\034\000\000\000\034'
  cat "$model" "$model" "$model" | head -c 172480
} >images-idx3-ubyte
labels() {
  printf '\000\000\010\001\000\000\000\334'
  i=0
  while [ $i -lt 55 ]; do
    # shellcheck disable=SC2059
    printf "$@"
    i=$((i + 1))
  done
}
labels '\001\002\003\004' >labels-idx1-ubyte

# Adam with averaged weights, running statistics, augmentation and noise: all that a run keeps. With 200
# samples to train on, a look of the watch is of one batch.
# $run: exec where a signal is to reach the command itself, and not a shell around it.
epochs=8
run=
train() {
  $run "$fgsm" train "$model" images-idx3-ubyte --method rs-fgsm --eps 0.1 --batch 20 --epochs $epochs \
    --optimizer adam --lr 0.001 --ema 0.99 --augment crop --init torch --seed 5 --threads 1 \
    --validation 20 --eval-steps 2 --device cpu "$@"
}
# told NAME : of how many epochs its log tells. They are told of before they are kept.
told() {
  grep -c '"event":"epoch"' "$1.jsonl" 2>/dev/null || [ $? = 1 ] || echo 0
}
# begin NAME : a training that goes on from NAME's checkpoint, as $victim.
begin() {
  # shellcheck disable=SC2209
  (run=exec && train --out "$1.onnx" --log "$1.jsonl" --resume) >stdout 2>stderr &
  victim=$!
}
# after NAME EPOCHS : waits until the log tells of more epochs than that.
after() {
  i=0
  while [ "$(told "$1")" -le "$2" ] && [ $i -lt 1500 ]; do
    sleep 0.02
    i=$((i + 1))
  done
}
# finish NAME : the rest of it, which must come to the weights of the run that nothing has disturbed.
finish() {
  first=$(grep '"event":"epoch","epoch":1,' "$1.jsonl")
  expect 0 train --out "$1.onnx" --log "$1.jsonl" --resume
  cmp -s whole.onnx "$1.onnx" || fail "$1 and resumed, another model came out"
  [ "$(told "$1")" = $epochs ] || fail "$1 and resumed, the log lacks epochs"
  # With the seconds that it took: it was not trained again.
  grep -qxF -e "$first" "$1.jsonl" || fail "$1 and resumed, it began anew"
}
expect 0 train --out whole.onnx --log whole.jsonl
[ -s whole.onnx.checkpoint ] || fail "there is no checkpoint"

# ---- killed: before there is a checkpoint, while one is written, and ever later after that
begin killed
sleep 0.1
kill -9 $victim
wait $victim
for delay in 0 0.05 0.1 0.2; do
  before=$(told killed)
  begin killed
  after killed "$before"
  sleep "$delay"
  kill -9 $victim
  wait $victim
  [ $? = 137 ] && killed=$((${killed-0} + 1))
done
check
[ "${killed-0}" -ge 1 ] || fail "every run was over before it was killed"
finish killed

# ---- interrupted: at once, within an epoch, exit code 130
check
begin interrupted
after interrupted 0
kill -TERM $victim # a shell has its background jobs ignore SIGINT
wait $victim
code=$?
[ $code = 130 ] || fail "interrupted: exit code $code: $(cat stderr)"
says "with --resume goes on"
[ ! -e interrupted.onnx ] || fail "an interrupted run wrote its model"
finish interrupted

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
[ "$failures" = 0 ] && [ "$checks" -gt 25 ]
