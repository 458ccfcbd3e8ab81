#!/bin/sh
# test_ranks.sh FGSM SOURCE APART STARTER : two processes, which mpirun starts and which meet by MPI, or
# tools/start_ranks.sh, as torchrun would, and which meet by TCP, train to the weights that one comes to, one of
# them writes, and where one of them ends all of them do, the last checkpoint whole.
set -u
fgsm=$1
golden=$2/tests/golden
apart=$3
mpirun=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export OMP_NUM_THREADS=1 TMPDIR="$work"
. "$2/tests/ranks.sh"
case $mpirun in
*start_ranks.sh) by_mpi=no without='rank [01] is gone' ;;
*) by_mpi=yes without='signal 9' ;;
esac
checks=0
failures=0

fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}
# expect CODE COMMAND... : runs it, with standard error in `stderr`.
expect() {
  want=$1
  shift
  checks=$((checks + 1))
  "$@" >stdout 2>stderr </dev/null
  code=$?
  [ "$code" = "$want" ] || fail "exit code $code, not $want: $*: $(cat stderr)"
}
says() {
  checks=$((checks + 1))
  grep -q -e "$1" stderr || fail "standard error does not say '$1': $(cat stderr)"
}
# same MODEL WORDS... : one rank and two come to the same weights. The model `training` has
# BatchNormalization, whose statistics are those of both ranks' batch.
run() {
  # shellcheck disable=SC2086
  "$@" train "$golden/$model.onnx" images-idx3-ubyte --eps 0.1 --batch 20 --lr 0.02 --epochs 4 \
    --threads 1 --validation 40 --watch 5 --json $words --out $out.onnx --log $out.jsonl
}
same() {
  model=$1
  shift
  words=$*
  rm -f one.* two.*
  out=one
  expect 0 run "$fgsm"
  out=two
  expect 0 run ranks 2 "$fgsm"
  grep -q '"ranks": 2' stdout || fail "$words: the answer does not say that there are two ranks"
  [ "$(grep -c '"model"' stdout)" = 1 ] || fail "$words: more than one rank answered"
  d=$("$apart" one.onnx two.onnx) || fail "$words: other weights"
  awk "BEGIN { exit !($d <= 1e-5) }" || fail "$words: two ranks end $d from one"
  awk "BEGIN { exit !($("$apart" "$golden/$model.onnx" one.onnx) > 1e-3) }" ||
    fail "$words: nothing was learnt"
  # What was judged and watched is the same, but for the time that it took.
  for log in one two; do
    sed -e 's/"seconds":[^,}]*//' -e 's/\(\.[0-9][0-9][0-9][0-9]\)[0-9]*/\1/g' $log.jsonl >$log.seen
  done
  grep -o '"[a-z_]*accuracy":[^,]*' one.seen >one.accuracies
  grep -o '"[a-z_]*accuracy":[^,]*' two.seen >two.accuracies
  cmp -s one.accuracies two.accuracies || fail "$words: the logs differ: $(diff one.seen two.seen)"
}
same training --method rs-fgsm --device cpu
same training --method n-fgsm --optimizer adam --clip-norm 0.5 --ema 0.9 --device cpu
same training --method free --replays 2 --lr 0.005 --device cpu
same training --method fgsm-pgi --device cpu
same training_smooth --method grad-align --lr 0.005 --device cpu
same training --method mart --device cpu
# The signs of trades' first step are those of a difference that is almost nothing, and in float32 any
# other order of sums turns some: two threads in place of one as well as two ranks. So in double.
same training --method trades --label-smoothing 0.1 --device ref

# ---- interrupted: one rank is told, and both stop
ranks_of() { # the processes that $1 started
  for stat in /proc/[0-9]*/stat; do
    sed -n "s/^\\([0-9]*\\) (fgsm) . $1 .*/\\1/p" "$stat" 2>/dev/null
  done
}
long() { # in place of the shell that it is called in, so that a signal reaches it
  exec "$mpirun" --oversubscribe --bind-to none -n 2 "$fgsm" train "$golden/training.onnx" images-idx3-ubyte --method free --replays 2 --eps 0.1 --batch 20 \
    --lr 0.005 --threads 1 --device cpu --epochs 3000 --out going.onnx --resume
}
checks=$((checks + 1))
long >stdout 2>stderr &
victim=$!
i=0
while [ ! -e going.onnx.checkpoint ] && [ $i -lt 300 ]; do
  sleep 0.1
  i=$((i + 1))
done
kill -TERM "$(ranks_of $victim | tail -n 1)"
wait $victim
code=$?
[ $code = 130 ] || fail "interrupted, the run ended with $code"
[ -e going.onnx ] && fail "an interrupted run wrote its model"
says "with --resume goes on"
cp going.onnx.checkpoint kept

# ---- a rank that dies
checks=$((checks + 1))
long >stdout 2>stderr &
victim=$!
i=0
while cmp -s kept going.onnx.checkpoint && [ $i -lt 300 ]; do
  sleep 0.1
  i=$((i + 1))
done
dying=$(ranks_of $victim | tail -n 1)
[ -n "$dying" ] || fail "no rank was found"
kill -9 "$dying"
wait $victim
code=$?
[ $code != 0 ] || fail "a rank died, and the run ended with success"
[ -e going.onnx ] && fail "a run without one of its ranks wrote its model"
says "$without"
expect 2 "$fgsm" train "$golden/training.onnx" images-idx3-ubyte --checkpoint going.onnx.checkpoint \
  --resume --eps 0.1 --epochs 1
says "where going.onnx.checkpoint was written" # whole: it is read, and of another run

# ---- what cannot be
expect 2 ranks 3 "$fgsm" train "$golden/training.onnx" images-idx3-ubyte --eps 0.1 --batch 20
says "3 equal parts"
alone() { # CODE NAME=VALUE... : one rank that is told that
  wanted=$1
  shift
  expect "$wanted" env WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 LOCAL_RANK=0 MASTER_ADDR=localhost "$@" \
    "$fgsm" train "$golden/training.onnx" images-idx3-ubyte --eps 0.1
}
alone 2 MASTER_PORT=1
says "RANK is not: torchrun sets both"
alone 2 RANK=2 MASTER_PORT=1
says "RANK: 2 is no number up to 1"
alone 2 RANK=0 MASTER_PORT=65535
says "no number up to 65534"
if [ "$by_mpi" = no ]; then
  # Whoever comes and is no rank is hung up on; a port has one rank 0.
  checks=$((checks + 2))
  port=$((20000 + ($$ + 7) % 20000))
  env WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 LOCAL_RANK=0 RANK=0 MASTER_ADDR=localhost FGSM_PORT=$port \
    "$fgsm" train "$golden/training.onnx" images-idx3-ubyte --eps 0.1 >stdout 2>waiting </dev/null &
  first=$!
  python3 -c '
import socket, sys, time
for tries in range(100):
    try:
        s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        break
    except OSError:
        time.sleep(0.1)
s.sendall(b"GET / HTTP/1.1\r\n")
s.settimeout(30)
sys.exit(s.recv(1) != b"")' $port || fail "a stranger is not hung up on"
  alone 5 RANK=0 FGSM_PORT=$port
  says "cannot listen at port $port: .*; set FGSM_PORT"
  kill -TERM $first
  wait $first
  code=$?
  [ $code = 130 ] || fail "interrupted while it waits for others, a rank ended with $code"
  # A rank that ends all ends them with its own code.
  checks=$((checks + 1))
  export WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 MASTER_ADDR=localhost FGSM_PORT=$port
  RANK=0 LOCAL_RANK=0 "$fgsm" train "$golden/training.onnx" images-idx3-ubyte --eps 0.1 --batch 20 \
    >stdout 2>waiting </dev/null &
  first=$!
  RANK=1 LOCAL_RANK=1 "$fgsm" train "$golden/training.onnx" images-idx3-ubyte --eps 0.2 --batch 20 \
    >stdout 2>stderr </dev/null
  code=$?
  wait $first
  [ "$code $?" = "2 2" ] || fail "ranks with other options ended with $code and another"
  unset WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR FGSM_PORT
else
  expect 2 env OMPI_COMM_WORLD_SIZE=2 "$fgsm" train "$golden/training.onnx" images-idx3-ubyte --eps 0.1
  says "another MPI"
fi
echo nonsense >libfgsm_mpi.so
expect 5 env PMI_SIZE=2 FGSM_PLUGIN_PATH="$work" "$fgsm" train "$golden/training.onnx" \
  images-idx3-ubyte --eps 0.1
says "does not load"
expect 4 ranks 2 "$fgsm" train "$golden/training.onnx" images-idx3-ubyte --eps 0.1 --batch 20 \
  --epochs 1 --out /nowhere/a.onnx
says "nowhere"

if [ $failures -gt 0 ]; then
  echo "$failures failures in $checks checks"
  exit 1
fi
echo "ranks: all $checks checks passed"
