#!/bin/sh
# test_ranks_cards.sh FGSM SOURCE TESTS MPIRUN : two processes with a card each (fake_device.h), whose sums go
# by NCCL (tools/fake_nccl.c), train to the bytes that two processes on the cpu come to, whose sums go by MPI;
# and where NCCL refuses a rank, all end.
set -u
fgsm=$1
golden=$2/tests/golden
tests=$3
mpirun=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export OMP_NUM_THREADS=1 TMPDIR="$work" FGSM_PLUGIN_PATH="$tests/fake" LD_LIBRARY_PATH="$tests/fake_nccl"
. "$2/tests/ranks.sh"
failed=0

# train DEVICE OUT WORDS...
train() {
  device=$1 out=$2
  shift 2
  ranks 2 "$fgsm" train "$golden/training.onnx" images-idx3-ubyte \
    --eps 0.1 --batch 20 --lr 0.02 --epochs 3 --threads 1 --validation 40 --quiet --device "$device" \
    --out "$out" "$@" >stdout 2>stderr </dev/null
}
for words in '--method rs-fgsm' '--method free --replays 2' \
  '--method n-fgsm --optimizer adam --clip-norm 0.5 --ema 0.9'; do
  # shellcheck disable=SC2086
  train cpu cpu.onnx $words || { echo "the cpu: $words: $(cat stderr)"; failed=1; }
  # shellcheck disable=SC2086
  FAKE_DELAY=50 train cuda cards.onnx $words || { echo "cards: $words: $(cat stderr)"; failed=1; }
  cmp cpu.onnx cards.onnx || failed=1
  rm -f ./*.onnx*
done
FAKE_NCCL_FAIL=1 train cuda cards.onnx --method rs-fgsm
code=$?
[ $code = 5 ] && grep -q 'NCCL: joining: refused, on purpose' stderr && [ ! -e cards.onnx ] ||
  { echo "a rank that is refused: exit code $code: $(cat stderr)"; failed=1; }
[ "$failed" = 0 ] && echo 'cards of two processes train to what two processes on the cpu do'
exit "$failed"
