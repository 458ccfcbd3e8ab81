#!/bin/sh
# test_device.sh FGSM PLUGINS SOURCE JSON-GET : devices as the command sees them. Plugins that were made
# for another library are refused with the reason; with a fake card as the plugin (fake_device.h),
# several cards write what the cpu writes, and a card that is lost ends the run with exit code 5 and
# what was finished kept under another name.
set -u
fgsm=$1
plugins=$2
model=$3/examples/glyphs.onnx
json_get=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0

# expect CODE WORDS COMMAND... : it exits with the code and says the words.
expect() {
  code=$1 words=$2
  shift 2
  "$@" >stdout 2>stderr </dev/null
  got=$?
  if [ "$got" != "$code" ] || ! cat stdout stderr | grep -q -e "$words"; then
    echo "exit code $got, not $code with '$words': $*"
    cat stdout stderr
    failed=1
  fi
}

# 600 images of 28 x 28 in IDX: a header, then bytes; labels 0 to 9.
{
  printf '\000\000\010\003\000\000\002\130\000\000\000\034\000\000\000\034'
  head -c 470400 /dev/zero | openssl enc -aes-128-ctr -K 0 -iv 0 2>/dev/null | head -c 470400
} >images-idx3-ubyte
{
  printf '\000\000\010\001\000\000\002\130'
  i=0
  while [ $i -lt 60 ]; do
    printf '\000\001\002\003\004\005\006\007\010\011'
    i=$((i + 1))
  done
} >labels-idx1-ubyte
attack() {
  out=$1
  shift
  "$fgsm" attack "$model" images-idx3-ubyte --eps 0.1 --batch 32 --threads 1 --quiet --out "$out" "$@"
}

FGSM_PLUGIN_PATH=$plugins/odd_abi expect 0 'unusable: .*another version of the interface' "$fgsm" devices
FGSM_PLUGIN_PATH=$plugins/odd_ops expect 0 'unusable: .*built from other sources' "$fgsm" devices
FGSM_PLUGIN_PATH=$plugins/odd_ops expect 5 'built from other sources' "$fgsm" inspect "$model" --device cuda

export FGSM_PLUGIN_PATH="$plugins/fake"
expect 0 '^cuda:1 *a fake card around cpu' "$fgsm" devices
expect 0 '.' attack cpu.npy --device cpu
for device in cuda cuda:1 cuda:0,1 cuda:all auto; do
  FAKE_DELAY=200 expect 0 '.' attack card.npy --device $device --json
  "$json_get" device <stdout >name
  [ "$(cat name)" = cuda ] || { echo "$device computed on $(cat name)"; failed=1; }
  for suffix in '' .records.csv; do
    cmp "cpu.npy$suffix" "card.npy$suffix" || failed=1
  done
done
rm -f card.npy*
expect 5 'devices 0' attack card.npy --device cuda:2
FAKE_DEVICES=0 expect 5 'there is none' attack card.npy --device cuda
kept=0
# What was finished before the card was lost is there, under another name: the beginning of what the
# cpu writes, with its records, and a manifest that says how much of it there is.
check_kept() {
  samples=$("$json_get" output samples <partial-card.npy.json)
  case $("$json_get" output complete <partial-card.npy.json):$((samples % 32)) in
    false:0) ;;
    *) echo "partial-card.npy.json vouches for $samples samples"; failed=1 ;;
  esac
  tail -c +129 partial-card.npy >got
  tail -c +129 cpu.npy | head -c $((samples * 784)) >want
  head -$((samples + 1)) cpu.npy.records.csv >want.csv
  cmp got want && cmp partial-card.npy.records.csv want.csv || failed=1
  grep -q "the first $samples of 600 samples are finished, in partial-card.npy: go on with --start $samples" \
    stderr || { echo "not said: $samples samples: $(cat stderr)"; failed=1; }
  expect 0 '.' "$fgsm" convert partial-card.npy back.npy
  kept=$((kept + 1))
  rm -f partial-card.* got want want.csv back.*
}
for point in open:1 alloc:3 upload:20 run:60 run:150 sync:15 download:9 download:50; do
  FAKE_FAIL=$point "$fgsm" attack "$model" images-idx3-ubyte --eps 0.1 --batch 32 --quiet \
    --device cuda:0,1 --out card.npy >stdout 2>stderr </dev/null
  code=$?
  case $point:$code in
    alloc*:6 | [!a]*:5) ;;
    *) echo "FAKE_FAIL=$point: exit code $code: $(cat stderr)"; failed=1 ;;
  esac
  [ ! -e partial-card.npy ] || check_kept
done
[ $kept -gt 0 ] || { echo 'no lost card left what was finished'; failed=1; }
set -- card.npy*
[ ! -e "$1" ] || { echo "a lost card left $*"; failed=1; }

# Less than fp32 says how far its gradients agree with fp32's, on the first batch; fp32 by plain sums
# has nothing to say.
expect 0 'agreement with exact fp32 ' attack coarse.npy --device cuda:0,1 --precision bf16
grep -q '% weighted by |g| (first 32 samples)' stdout || { cat stdout; failed=1; }
for lanes in 1 2; do
  FAKE_LANES=$lanes expect 0 '.' attack coarse.npy --device cuda --precision bf16 --json
  for member in signs weighted; do
    "$json_get" agreement $member <stdout >$member.$lanes
  done
done
# So do a bench and an inspection, on samples that they generate.
expect 0 'agreement  *with exact fp32: [0-9.]* % of the gradient.s signs, [0-9.]* % weighted by |g| (8 generated' \
  "$fgsm" inspect "$model" --device cuda --precision bf16 --batch 8
expect 0 '^agreement, batch 8, with exact fp32: [0-9.]* % of' \
  "$fgsm" bench "$model" --device cuda --precision bf16 --batch 8 --runs 2
expect 0 '.' "$fgsm" bench "$model" --device cuda --precision bf16 --batch 8,16 --runs 2 --csv
[ "$(grep -c '^[0-9]*,rate,.*,,,,0\.[0-9]*,0\.[0-9]*$' stdout)" = 6 ] || { cat stdout; failed=1; }
for command in inspect 'bench --runs 2'; do
  place=$([ "$command" = inspect ] || echo 'batches 0')
  # shellcheck disable=SC2086 # words
  expect 0 '.' "$fgsm" $command "$model" --device cuda --precision bf16 --batch 8 --json
  "$json_get" $place agreement weighted <stdout >weighted.other
  awk -v w="$(cat weighted.other)" 'BEGIN {exit !(w > 0.8 && w < 1)}' ||
    { echo "$command: $(cat weighted.other) weighted"; failed=1; }
  expect 0 '"agreement": null' "$fgsm" $command "$model" --device cuda --exact --batch 8 --json
done
cmp signs.1 signs.2 && cmp weighted.1 weighted.2 || failed=1

# A training has the precision that it is asked for, where there is one.
train() {
  "$fgsm" train "$model" images-idx3-ubyte --eps 0.1 --epochs 1 --limit 100 --batch 20 --validation 0 "$@"
}
for precision in fp32 bf16; do
  expect 0 '1 epochs in' train --device cuda --precision $precision --out $precision.onnx
done
! cmp -s fp32.onnx bf16.onnx || { echo 'bf16 trained what fp32 does'; failed=1; }
expect 2 'precision bf16 is not to be had on cpu' train --device cpu --precision bf16
awk -v s="$(cat signs.1)" -v w="$(cat weighted.1)" 'BEGIN {exit !(s > 0.8 && s < w && w < 1)}' ||
  { echo "agreement: $(cat signs.1) of the signs, $(cat weighted.1) weighted"; failed=1; }
cmp -s cpu.npy coarse.npy && { echo 'bf16 wrote what fp32 writes'; failed=1; }
"$json_get" agreement with <coarse.npy.json >name
[ "$(cat name)" = 'exact fp32' ] || { echo "agreement with $(cat name)"; failed=1; }
expect 0 '.' attack coarse.npy --device cuda --exact --json
"$json_get" agreement signs <stdout >/dev/null 2>&1 && { echo 'exact fp32 agrees with itself'; failed=1; }

# --exact, for what a timed choice needs is not the same in every run.
# A batch that does not fit the card's memory is made smaller, which is said; one that was asked for is
# refused with one that would fit, which depends on how many threads want room.
FAKE_LANES=1 FAKE_MEMORY=4 expect 0 'the batch is [0-9]*, because 64 would need [0-9.]* MiB of the card.s memory' \
  "$fgsm" attack "$model" images-idx3-ubyte --eps 0.1 --exact --threads 1 --device cuda --quiet --out small.npy
batch=$("$json_get" batch <small.npy.json)
[ "$batch" -gt 1 ] && [ "$batch" -lt 64 ] || { echo "a batch of $batch in 4 MiB"; failed=1; }
expect 0 '.' "$fgsm" attack "$model" images-idx3-ubyte --eps 0.1 --exact --device cpu --threads 1 --batch "$batch" \
  --quiet --out whole.npy
cmp small.npy whole.npy || failed=1
FAKE_LANES=1 FAKE_MEMORY=4 expect 6 "of it are free; --batch $batch would fit" attack card.npy \
  --device cuda --batch 64 --exact
FAKE_LANES=2 FAKE_MEMORY=4 expect 0 'the batch is [0-9]*, because 64 ' \
  "$fgsm" attack "$model" images-idx3-ubyte --eps 0.1 --exact --threads 1 --device cuda --quiet --json
halves=$("$json_get" batch <stdout)
[ "$halves" -lt "$batch" ] || { echo "two lanes take batches of $halves, one of $batch"; failed=1; }
FAKE_DEVICES=0 FGSM_LOG=info expect 0 'computing on the cpu: .*there is none' attack auto.npy --device auto
cmp cpu.npy auto.npy || failed=1
[ "$failed" = 0 ] && echo 'devices are found, shared and lost as they should be'
exit "$failed"
