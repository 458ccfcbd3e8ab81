#!/bin/sh
# test_cli.sh FGSM JSON-GET SOURCE : the command from outside: exit codes, what goes where, and that no
# failure leaves anything under a final name. FGSM_TEST_DEVICE chooses the device (auto).
set -u
fgsm=$1
json_get=$2
source=$3
device=${FGSM_TEST_DEVICE:-auto}
model=$source/examples/glyphs.onnx
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/out"
cd "$work" || exit 1
checks=0
failures=0

fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

# expect CODE COMMAND... : runs it, with its output in `stdout` and `stderr`.
expect() {
  want=$1
  shift
  checks=$((checks + 1))
  "$@" >stdout 2>stderr </dev/null
  code=$?
  if [ "$code" != "$want" ]; then
    fail "exit code $code, not $want: $*"
    sed 's/^/    /' stderr
  fi
}

# says WORDS : standard error holds them.
says() {
  checks=$((checks + 1))
  grep -q -e "$1" stderr || fail "standard error does not say '$1': $(cat stderr)"
}

# member VALUE KEY... : the JSON on standard output has it.
member() {
  checks=$((checks + 1))
  want=$1
  shift
  got=$("$json_get" "$@" <stdout 2>&1) || fail "no member $*: $got"
  [ "$got" = "$want" ] || fail "member $* is '$got', not '$want'"
}

# exists FILE..., gone : the output folder holds exactly these files.
exists() {
  checks=$((checks + 1))
  got=$(ls -A out | sort | tr '\n' ' ')
  want=$(printf '%s\n' "$@" | sort | tr '\n' ' ')
  [ "$got" = "$want" ] || fail "the output folder holds '$got', not '$want'"
  rm -rf out && mkdir out
}
gone() {
  checks=$((checks + 1))
  [ -z "$(ls -A out)" ] || fail "left behind: $(ls -A out)"
  rm -rf out && mkdir out
}

# ---- data: 150 images of 28 x 28, whose bytes are those of the model file, and their labels
n=150
{
  printf '\000\000\010\003\000\000\000\226\000\000\000\034\000\000\000\034'
  head -c $((n * 784)) "$model"
} >images-idx3-ubyte
{
  printf '\000\000\010\001\000\000\000\226'
  i=0
  while [ $i -lt 15 ]; do
    printf '\000\001\002\003\004\005\006\007\010\011'
    i=$((i + 1))
  done
} >labels-idx1-ubyte
attack() {
  "$fgsm" attack "$model" "$@" --device "$device"
}

# ---- usage
expect 2 "$fgsm"
expect 2 "$fgsm" frobnicate
says "no command 'frobnicate'"
expect 2 "$fgsm" attack
says "too few arguments"
expect 2 "$fgsm" attack a b c --eps 1
says "one argument too many"
expect 2 "$fgsm" attack a b --epz 1
says "did you mean 'eps'"
expect 2 "$fgsm" attack a b -x
says "unknown option '-x'"
expect 2 "$fgsm" attack a b --eps
says "needs a value"
expect 2 "$fgsm" attack a b --eps banana
says "banana"
expect 2 "$fgsm" attack a b --help=yes
expect 2 "$fgsm" inspect "$model" --eps 1
says "is for attack"
expect 2 attack images-idx3-ubyte
says "option 'eps' is missing"
expect 2 attack images-idx3-ubyte --eps 0.1 --attack fgsm --steps 7
expect 2 "$fgsm" help frobnicate
expect 2 "$fgsm" completions csh

# ---- help and version, to standard output
expect 0 "$fgsm" --help
[ -s stdout ] && [ ! -s stderr ] || fail "--help does not go to standard output"
expect 0 "$fgsm" attack --help
for option in eps out attack loss config fail-under; do
  grep -q -e "--$option" stdout || fail "the help of attack does not name --$option"
done
expect 0 "$fgsm" help inspect
expect 0 "$fgsm" --version
grep -q '^fgsm [0-9]' stdout || fail "no version"
expect 0 "$fgsm" version --json
member "$("$fgsm" version | cut -d' ' -f2)" version
expect 0 "$fgsm" devices --json
"$json_get" devices 0 name <stdout >/dev/null || fail "devices lists none"
expect 0 "$fgsm" man
grep -q '^\.TH FGSM 1' stdout || fail "no manual page"
for shell in bash zsh fish; do
  expect 0 "$fgsm" completions $shell
  grep -q fail-under stdout || fail "completions for $shell lack options"
done
expect 0 "$fgsm" inspect "$model" --device "$device"
expect 0 "$fgsm" inspect "$model" --json --device "$device"
"$json_get" <stdout >/dev/null || fail "inspect --json is not JSON"

expect 0 "$fgsm" inspect "$model" --dot --device "$device"
head -n 1 stdout | grep -q '^digraph' || fail "inspect --dot prints no graph"
command -v dot >/dev/null && { dot -Tplain stdout >plain || fail "Graphviz does not take the graph"; }
expect 0 "$fgsm" inspect "$model" --dot=out/m.dot --json --device "$device"
"$json_get" plans gradient nodes 0 operator <stdout >/dev/null || fail "inspect --json lacks calls"
grep -q 'label="call' out/m.dot || fail "the graph in a file shows no call"
exists m.dot
expect 2 "$fgsm" inspect "$model" --dot --json
expect 2 "$fgsm" inspect "$model" "--dot=$model" --device "$device"
expect 0 env COLUMNS=50 LC_ALL=C.UTF-8 NO_COLOR=1 "$fgsm" inspect "$model" --device "$device"
grep -q '█' stdout || fail "no blocks where the locale has them"
grep -q "$(printf '\033')" stdout && fail "colour in spite of NO_COLOR"
grep -A 8 'memory in use' stdout | LC_ALL=C.UTF-8 sed 's/[▁▂▃▄▅▆▇█]/#/g' |
  awk 'NR > 1 && length($0) > 50 { exit 1 }' || fail "the plot is wider than COLUMNS"
expect 0 env LC_ALL=C "$fgsm" inspect "$model" --color always --device "$device"
grep -q '█' stdout && fail "blocks where the locale has none"
grep -q "$(printf '\033')" stdout || fail "no colour with --color always"
expect 2 "$fgsm" inspect "$model" --width 3

# ---- how fast
expect 0 "$fgsm" bench "$model" --batch 4,8 --runs 3 --threads 1 --json --device "$device"
for row in 0 1; do
  for key in end_to_end attack device_only; do
    "$json_get" batches $row $key images_per_second <stdout >/dev/null || fail "bench lacks $key"
  done
done
member 8 batches 1 device_batch
expect 0 "$fgsm" bench "$model" --batch 4 --runs 2 --threads 1 --csv --device "$device"
awk 'NR == 1 { n = gsub(/,/, ",") } gsub(/,/, ",") != (NR == 1 ? 0 : n) && NR > 1 { exit 1 }' stdout ||
  fail "lines of bench --csv differ in columns"
grep -q '^4,plan,"whole"' stdout || fail "bench --csv lacks the plan"
expect 0 "$fgsm" bench "$model" --batch 4 --runs 2 --threads 1 --device "$device"
grep -q 'img/s' stdout || fail "bench prints no rate"
expect 2 "$fgsm" bench "$model" --json --csv
# A batch that was measured gives what that number gives.
expect 0 attack images-idx3-ubyte --eps 0.1 --batch auto --threads 1 --out out/auto-idx3-ubyte --json
batch=$("$json_get" batch <stdout) || fail "no batch in the answer"
expect 0 attack images-idx3-ubyte --eps 0.1 --batch "$batch" --threads 1 --out out/given-idx3-ubyte --json
cmp -s out/auto-idx3-ubyte out/given-idx3-ubyte || fail "--batch auto gave other bytes than --batch $batch"
rm -rf out && mkdir out
expect 2 "$fgsm" inspect "$model" --batch auto
expect 2 "$fgsm" bench "$model" --eps 1/255,2/255
expect 2 "$fgsm" attack "$model" images-idx3-ubyte --eps 0.1 --batch 4,8
says "is for bench"
expect 4 "$fgsm" bench missing.onnx
expect 5 "$fgsm" bench "$model" --device cuda

# ---- bad models and data
expect 4 "$fgsm" attack missing.onnx images-idx3-ubyte --eps 0.1
says "missing.onnx"
echo "this is no model" >text.onnx
expect 3 "$fgsm" attack text.onnx images-idx3-ubyte --eps 0.1
says "text.onnx"
head -c 5000 "$model" >short.onnx
expect 3 "$fgsm" inspect short.onnx
: >empty.onnx
expect 3 "$fgsm" inspect empty.onnx
expect 4 attack missing-idx3-ubyte --eps 0.1 --out out/adv.npy
says "missing-idx3-ubyte"
gone
head -c 50000 images-idx3-ubyte >short-images-idx3-ubyte
cp labels-idx1-ubyte short-labels-idx1-ubyte
expect 4 attack short-images-idx3-ubyte --eps 0.1 --out out/adv.npy
says "short-images-idx3-ubyte"
gone
gzip -c images-idx3-ubyte | head -c 20000 >cut-images-idx3-ubyte.gz
cp labels-idx1-ubyte cut-labels-idx1-ubyte
expect 4 attack cut-images-idx3-ubyte.gz --eps 0.1 --out out/adv.npy
says "cut-images-idx3-ubyte.gz"
gone
cp images-idx3-ubyte alone-images-idx3-ubyte
expect 4 attack alone-images-idx3-ubyte --eps 0.1 --out out/adv.npy
says "label"
gone
{
  head -c 100 labels-idx1-ubyte
  printf '\377'
  tail -c +102 labels-idx1-ubyte
} >high.idx1-ubyte
expect 4 attack images-idx3-ubyte --labels high.idx1-ubyte --eps 0.1 --out out/adv.npy
says "sample 92 has label 255"
gone
expect 4 attack images-idx3-ubyte --eps 0.1 --start 150
says "start"
expect 4 attack images-idx3-ubyte --eps missing.npy

# ---- no card: every way of naming one says so with what to do, and auto computes on the cpu
expect 2 attack images-idx3-ubyte --eps 0.1 --device cuda:0,0
says "named twice"
expect 0 "$fgsm" devices
if grep -q '^cuda  *unusable' stdout; then
  for name in cuda cuda:1 cuda:0,1 cuda:all; do
    expect 5 "$fgsm" attack "$model" images-idx3-ubyte --eps 0.1 --device $name
    says "cuda"
    expect 5 "$fgsm" inspect "$model" --device $name
  done
  FGSM_LOG=info expect 0 "$fgsm" inspect "$model" --device auto
  says "computing on the cpu"
fi
mkdir plugins
echo "no library" >plugins/libfgsm_cuda.so
export FGSM_PLUGIN_PATH="$PWD/plugins"
expect 5 "$fgsm" attack "$model" images-idx3-ubyte --eps 0.1 --device cuda
says "does not load"
expect 0 "$fgsm" devices
grep -q '^cuda  *unusable: .*does not load' stdout || fail "devices does not say why cuda is unusable"
unset FGSM_PLUGIN_PATH

# ---- a good run: files, manifest, records, JSON
expect 0 attack images-idx3-ubyte --eps 8/255 --out out/adv-images-idx3-ubyte --json
member 150 samples
member 8/255 eps
for key in clean_correct clean_accuracy adversarial_accuracy success_rate changed_rate linf_max \
  mean_loss_clean mean_loss_adversarial zero_gradient_samples nonfinite_samples \
  images_per_second seconds device precision stage_wait denominators; do
  "$json_get" $key <stdout >/dev/null || fail "attack --json lacks $key"
done
checks=$((checks + 16))
awk -F, 'NR > 1 && ($9 < 0 || $9 > 8/255 + 1e-7) { exit 1 } END { if (NR != 151) exit 1 }' \
  out/adv-images-idx3-ubyte.records.csv || fail "the records: rows, or linf beyond eps"
cp out/adv-images-idx3-ubyte.json stdout
member "$(sha256sum <out/adv-images-idx3-ubyte | cut -d' ' -f1)" output sha256
member "$(sha256sum <"$model" | cut -d' ' -f1)" model sha256
member "$(sha256sum <images-idx3-ubyte | cut -d' ' -f1)" data sha256
member 8/255 options eps
member 150 results samples
cmp -s labels-idx1-ubyte out/adv-labels-idx1-ubyte || fail "the labels changed"
[ "$(wc -c <out/adv-images-idx3-ubyte)" = "$(wc -c <images-idx3-ubyte)" ] || fail "the size changed"
cmp -s images-idx3-ubyte out/adv-images-idx3-ubyte && fail "the attack changed nothing"
exists adv-images-idx3-ubyte adv-labels-idx1-ubyte adv-images-idx3-ubyte.json \
  adv-images-idx3-ubyte.records.csv

# Twice the same; eps 0 is the identity, and written by nobody else.
expect 0 attack images-idx3-ubyte --eps 0 --out out/zero-images-idx3-ubyte
cmp -s images-idx3-ubyte out/zero-images-idx3-ubyte || fail "eps 0 is not the identity"
grep -q 'of 150 samples' stdout || fail "the summary does not name the denominator"
rm -rf out && mkdir out
for run in 1 2; do
  expect 0 attack images-idx3-ubyte --eps 0.1 --attack pgd --steps 2 --seed 3 --out out/$run.npy
done
cmp -s out/1.npy out/2.npy || fail "the same seed gave other bytes"
rm -rf out && mkdir out

# Without a look at what is written: the same bytes, and what is not known reads so.
expect 0 attack images-idx3-ubyte --eps 8/255 --out out/1.npy --json
member true verified
expect 0 attack images-idx3-ubyte --eps 8/255 --out out/2.npy --json --no-verify
cmp -s out/1.npy out/2.npy || fail "--no-verify wrote other bytes"
member false verified
"$json_get" not_known <stdout | grep -q no-verify || fail "no word why"
for key in adversarial_correct adversarial_accuracy successes success_rate changed changed_rate \
  mean_loss_adversarial; do
  member null $key
done
member "$("$json_get" clean_accuracy <stdout)" clean_accuracy
member 150 finite_losses
cp out/2.npy.json stdout
member null results adversarial_accuracy
member false verified
member true options no-verify
awk -F, 'NR > 1 && ($4 != "" || $6 != "" || $3 == "" || $5 == "" || $11 !~ /unverified/) { exit 1 }
         END { if (NR != 151) exit 1 }' out/2.npy.records.csv || fail "records of what was not looked at"
cut -d, -f1-3,5,7-10 out/1.npy.records.csv >1.csv
cut -d, -f1-3,5,7-10 out/2.npy.records.csv | cmp -s - 1.csv || fail "the known columns differ"
expect 0 attack images-idx3-ubyte --eps 8/255 --no-verify
grep -q 'adversarial accuracy  *not verified' stdout || fail "the summary does not say 'not verified'"
grep -q 'clean accuracy .* of 150 samples' stdout || fail "the summary lacks the clean accuracy"
grep -q 'adversarial.*0.00 %' stdout && fail "the summary has a rate of what is not known"
expect 0 attack images-idx3-ubyte --eps 8/255,0.1 --attack rs-fgsm --no-verify
grep -q 'clean accuracy  *not looked at' stdout || fail "the summary does not say 'not looked at'"
grep -q '^  8/255  *-  *-  *-  *-$' stdout || fail "the curve has figures that are not known"
expect 2 attack images-idx3-ubyte --eps 0.1 --no-verify --fail-under 0 --out out/3.npy
says "no-verify"
[ -e out/3.npy ] && fail "written in spite of the refusal"
expect 2 attack images-idx3-ubyte --eps 0.1 --no-verify --attack minimal-eps
says "no-verify"
expect 2 attack images-idx3-ubyte --eps 0.1 --no-verify --attack pgd --restarts 3
says "no-verify"
rm -rf out && mkdir out

# Several eps; a part of the data; options from a file, with the command line's last word.
expect 0 attack images-idx3-ubyte --eps 1/255,0.1 --start 20 --limit 70 --out out/adv.npy --json
member 70 samples
member 0.1 eps
member 1/255 curve 0 eps
member 0.1 curve 1 eps
[ "$(sed -n 2p out/adv-eps0.1.npy.records.csv | cut -d, -f1)" = 20 ] || fail "records begin elsewhere"
exists adv-eps1_255.npy adv-eps1_255.labels.npy adv-eps1_255.npy.json \
  adv-eps1_255.npy.records.csv adv-eps0.1.npy adv-eps0.1.labels.npy adv-eps0.1.npy.json \
  adv-eps0.1.npy.records.csv
printf 'eps = 0.3 # much\nlimit = 40\njson = true\n' >options
expect 0 attack images-idx3-ubyte --limit 30 --config options
member 30 samples
member 0.3 eps
printf 'eps = 0.3\nlimitt = 40\n' >options
expect 2 attack images-idx3-ubyte --config options
says "options:2: unknown option 'limitt'; did you mean 'limit'"
gone

# Labels that the model predicts: all are right before the attack.
expect 0 attack alone-images-idx3-ubyte --eps 0.1 --labels predicted --json
member 150 clean_correct
expect 0 attack images-idx3-ubyte --eps 0.1 --target 3 --json --limit 20
expect 0 attack images-idx3-ubyte --eps 0.1 --target least-likely --json --limit 20
expect 2 attack images-idx3-ubyte --eps 0.1 --target 99 --limit 20
expect 0 attack images-idx3-ubyte --eps 0.1 --target labels-idx1-ubyte --json --limit 20
member 0 success_candidates

# ---- the check that was asked for; outputs are written as otherwise
expect 1 attack images-idx3-ubyte --eps 0.1 --fail-under 1 --out out/adv.npy --json
says "adversarial accuracy"
member false fail_under passed
exists adv.npy adv.labels.npy adv.npy.json adv.npy.records.csv
expect 0 attack images-idx3-ubyte --eps 0.1 --fail-under 0

# ---- what goes where: nothing but the result on standard output, nothing on standard error if quiet
expect 0 attack images-idx3-ubyte --eps 0.1 --quiet --limit 10
[ ! -s stderr ] || fail "--quiet is not quiet: $(cat stderr)"
grep -q "$(printf '\r')" stderr && fail "a progress bar without a terminal"

# drawn COLUMNS : what was drawn on that terminal, a line each, without its escapes, in `lines`.
drawn() {
  checks=$((checks + 1))
  tr '\r' '\n' <terminal | sed -n "s/$(printf '\033')\\[[0-9;]*[mK]//g; /left/p" >lines
  awk -v columns="$1" 'length >= columns { exit 1 }' lines ||
    fail "progress is wider than its terminal of $1 columns: $(tail -n 1 lines)"
}
if command -v script >/dev/null; then
  checks=$((checks + 3))
  bar="'$fgsm' attack '$model' images-idx3-ubyte --eps 0.1 --device '$device'"
  TERM=xterm script -qec "$bar" /dev/null </dev/null >terminal 2>&1
  grep -q '150/150.*left' terminal || fail "no progress bar on a terminal"
  grep -q "$(printf '\033\\[32m')" terminal || fail "no colour on a terminal"
  TERM=xterm script -qec "stty cols 70; $bar" /dev/null </dev/null >terminal 2>&1
  drawn 70
  grep -q '^##* 150/150  [0-9.]*/s  0:00 left' lines || fail "no progress bar on a narrow terminal: $(cat lines)"
  NO_COLOR=1 TERM=xterm script -qec "$bar" /dev/null </dev/null >terminal 2>&1
  grep -q "$(printf '\033\\[32m')" terminal && fail "NO_COLOR is not honoured"
else
  echo "not run: the progress bar on a terminal, as script(1) is not there"
fi

# ---- a model with several inputs: one is attacked, the other fed from an array of one sample
golden=$source/tests/golden
# npy TYPE SHAPE : the head of an array's file, 128 bytes.
npy() {
  printf '\223NUMPY\001\000\166\000%-117s\n' \
    "{'descr': '$1', 'fortran_order': False, 'shape': ($2), }"
}
{
  npy '<f4' '1, 6'
  printf '\000\000\000\077\000\000\200\077\000\000\000\000\000\000\000\077\000\000\200\076\000\000\000\077'
} >features.npy
two=$golden/two_inputs.onnx
expect 0 "$fgsm" attack "$two" "$golden/two_inputs.npz" --input x --feed x2=features.npy --eps 0.1 \
  --clip none --out out/adv.npz --json --device "$device"
member 3 samples
member 0 zero_gradient_samples
cp out/adv.npz.json stdout
member x options input
member x2=features.npy options feed
expect 0 "$fgsm" attack "$two" out/adv.npz --input x --feed x2=features.npy --eps 0 --clip none --json \
  --device "$device"
cp stdout again
cp out/adv.npz.json stdout
member "$("$json_get" mean_loss_clean <again)" results mean_loss_adversarial
rm -rf out && mkdir out
expect 2 "$fgsm" attack "$two" "$golden/two_inputs.npz" --eps 0.1
says "name the one to attack with --input"
expect 2 "$fgsm" attack "$two" "$golden/two_inputs.npz" --input x --eps 0.1
says "give it with --feed x2=FILE.npy"
expect 2 "$fgsm" attack "$two" "$golden/two_inputs.npz" --input x2 --feed x2=features.npy --eps 0.1
says "the model's input 'x2'"

# ---- a model whose first output is a label, and the second the probabilities
pipeline=$golden/skl2onnx_softmax.onnx
expect 3 "$fgsm" attack "$pipeline" "$golden/skl2onnx_softmax.npz" --eps 0.1 --clip none
says "name another output with --output"
expect 0 "$fgsm" attack "$pipeline" "$golden/skl2onnx_softmax.npz" --eps 0.1 --clip none \
  --output probabilities --json --device "$device"
member 3 samples
member 0 zero_gradient_samples

# ---- tensors beside the model: their digests stand in the manifest and in inspect's answer
external=$golden/external.onnx
data=$(sha256sum <"$external.data" | cut -d' ' -f1)
expect 0 "$fgsm" attack "$external" "$golden/external.npz" --eps 0.1 --out out/adv.npy \
  --device "$device"
cp out/adv.npy.json stdout
member "$(sha256sum <"$external" | cut -d' ' -f1)" model sha256
member external.onnx.data model external_data 0 path
member "$data" model external_data 0 sha256
rm -rf out && mkdir out
expect 0 "$fgsm" inspect "$external" --json --device "$device"
member "$data" external_data 0 sha256
member 20224 external_data 0 bytes
expect 0 "$fgsm" inspect "$external" --device "$device"
grep -q "^data  *$data  external.onnx.data" stdout || fail "inspect does not show the data's digest"
mkdir elsewhere
cp "$external" elsewhere
expect 4 "$fgsm" inspect elsewhere/external.onnx
says "No such file"
ln -s "$external.data" elsewhere/external.onnx.data
expect 4 "$fgsm" inspect elsewhere/external.onnx
says "symbolic link"

# ---- outputs that cannot be: the input itself, a folder that is not there, a full disk
expect 2 attack images-idx3-ubyte --eps 0.1 --out images-idx3-ubyte
says "cannot be written"
expect 2 attack images-idx3-ubyte --eps 0.1 --out ./out/../images-idx3-ubyte
ln -s images-idx3-ubyte link-idx3-ubyte
expect 2 attack images-idx3-ubyte --eps 0.1 --out link-idx3-ubyte
rm link-idx3-ubyte
expect 4 attack images-idx3-ubyte --eps 0.1 --out out/none/adv.npy
says "out/none"
gone
expect 2 attack images-idx3-ubyte --eps 0.1 --out out/adv.docx
gone
expect 4 sh -c "ulimit -f 64; exec '$fgsm' attack '$model' images-idx3-ubyte --eps 0.1 \
  --device '$device' --out out/adv.npy"
says "out/adv"
gone
if [ -w /dev/full ]; then
  checks=$((checks + 1))
  "$fgsm" help attack >/dev/full 2>stderr
  [ $? = 4 ] || fail "a full standard output is not noticed"
  says "standard output"
else
  echo "not run: /dev/full is not there"
fi
checks=$((checks + 1))
"$fgsm" man 2>stderr | true
[ ! -s stderr ] || fail "a closed pipe is an error: $(cat stderr)"

# ---- memory
expect 3 "$fgsm" attack "$model" images-idx3-ubyte --eps 0.1 --device "$device" --batch 64 \
  --max-memory 1M
says "more than the 1 MiB of --max-memory"
expect 0 "$fgsm" attack "$model" images-idx3-ubyte --eps 0.1 --device "$device" --limit 3 \
  --max-memory 2M
checks=$((checks + 1))
grep -q "and --max-memory is 2 MiB" stdout || fail "a smaller batch is not told of"
expect 3 "$fgsm" attack "$model" images-idx3-ubyte --eps 0.1 --device "$device" --batch 65536 \
  --max-memory 64M --out out/adv.npy
says "would fit"
gone
expect 3 "$fgsm" attack "$model" images-idx3-ubyte --eps 0.1 --device "$device" --batch 4096 \
  --max-memory 3M
says "--batch \([2-9]\|[1-9][0-9]*[0-9]\) would fit"
expect 0 "$fgsm" attack "$model" images-idx3-ubyte --eps 0.1 --device "$device" --limit 3 \
  --max-memory 1G
expect 2 "$fgsm" attack "$model" images-idx3-ubyte --eps 0.1 --max-memory lots
says "amount of memory"
expect 0 "$fgsm" inspect "$model" --max-memory 1M
checks=$((checks + 1))
grep -q "more than the 1 MiB of --max-memory" stdout || fail "inspect does not say what is too large"

# ---- interruption: at once, 130, and what was under the final name before stays
echo precious >out/adv.npy
checks=$((checks + 1))
timeout --preserve-status -s INT 1 "$fgsm" attack "$model" images-idx3-ubyte --eps 0.1 \
  --attack pgd --steps 100000 --device "$device" --batch 8 --out out/adv.npy >stdout 2>stderr
code=$?
[ $code = 130 ] || fail "SIGINT: exit code $code"
says "interrupted"
[ "$(cat out/adv.npy)" = precious ] || fail "an interrupted run replaced a file"
exists adv.npy
checks=$((checks + 1))
timeout --preserve-status -s TERM 1 "$fgsm" attack "$model" images-idx3-ubyte --eps 0.1 \
  --attack pgd --steps 100000 --device "$device" --batch 8 --out out/adv.npy >stdout 2>stderr
code=$?
[ $code = 130 ] || fail "SIGTERM: exit code $code"
gone

# What was finished by then is kept under another name. How long a sample takes is not known here, so
# the signal waits longer where it came before the first was done.
for wait in 1 2 4 8 16; do
  timeout --preserve-status -s INT $wait "$fgsm" attack "$model" images-idx3-ubyte --eps 0.1 \
    --attack pgd --steps 3000 --device "$device" --batch 1 --threads 1 --out out/adv.npz >stdout 2>stderr
  code=$?
  [ ! -e out/partial-adv.npz ] || break
done
checks=$((checks + 1))
samples=$("$json_get" output samples <out/partial-adv.npz.json)
if [ $code != 130 ] || [ "$samples" -lt 1 ] || [ "$samples" -ge $n ]; then
  fail "an interruption kept '$samples' samples: exit code $code: $(cat stderr)"
fi
says "go on with --start $samples"
expect 0 "$fgsm" convert out/partial-adv.npz out/back.npy --json
member "$samples" samples
rm -rf out && mkdir out

# ---- training: the same seed gives the same file, which is a model like any other
train() {
  "$fgsm" train "$model" images-idx3-ubyte --eps 0.1 --batch 25 --epochs 2 --lr 0.01 --method rs-fgsm \
    --seed 3 "$@"
}
rm -rf out && mkdir out
expect 0 train --init torch --log out/log.jsonl --report out/page.html --watch 2 \
  --out out/robust.onnx --json
member rs-fgsm method
member 2 epochs
member 135 train_samples
member 15 validation_samples
member 2 history 1 epoch
[ "$(grep -c '"event":"epoch"' out/log.jsonl)" = 2 ] || fail "the log has not one line an epoch"
[ "$(grep -c '"event":"watch"' out/log.jsonl)" = 6 ] || fail "there were not three looks an epoch"
grep -q '<svg' out/page.html && [ "$(grep -c polyline out/page.html)" -ge 8 ] ||
  fail "the report has no curves"
member false overfitting at_the_end
mv out/robust.onnx first.onnx
expect 0 train --init torch --out out/robust.onnx
exists log.jsonl page.html robust.onnx robust.onnx.checkpoint
# The page of a short and plain one: no curve that has no points, one that has a single point, round numbers.
expect 0 train --method clean --epochs 1 --report page.html
checks=$((checks + 3))
grep -q "points=''\|as crafted" page.html && fail "the report has empty curves"
grep -Eq "points='([0-9.]+,[0-9.]+) \\1 '" page.html || fail "a single point is not seen"
sed -n "s/.*class='v'>\([0-9.]*\)<.*/\1/p" page.html |
  awk '{ odd += sprintf("%.2g", $1) + 0 != $1 + 0 } END { exit !(NR >= 10 && odd == 0) }' ||
  fail "the report's axes are not of round numbers"

# The line while it runs: at its end, what the log says of the last epoch, and what was held out at the end of
# the one before. Time left: the whole's at an even pace, between the steps' own in the log and the clock's.
if command -v script >/dev/null; then
  checks=$((checks + 3))
  began=$(date +%s)
  TERM=xterm script -qec "stty cols 200; '$fgsm' train '$model' images-idx3-ubyte --method fgsm --eps 0.05 \
    --validation 50 --batch 5 --epochs 30 --lr 0.003 --watch 0 --threads 1 --device cpu --log line.jsonl" \
    /dev/null </dev/null >terminal 2>&1
  clock=$(($(date +%s) - began + 1))
  drawn 200
  # log EPOCH KEY : a number of that epoch's line.
  log() {
    grep "\"event\":\"epoch\",\"epoch\":$1," line.jsonl | "$json_get" "$2"
  }
  want=$(awk -v seconds="$(log 30 seconds)" -v loss="$(log 30 loss)" -v clean="$(log 30 train_clean_accuracy)" \
    -v robust="$(log 30 train_robust_accuracy)" -v held="$(log 29 clean_accuracy)" \
    -v held_robust="$(log 29 robust_accuracy)" 'BEGIN {
      printf "epoch 30/30, 100 %%  0:00 left  %.0f/s  loss %.4f", 100 / seconds, loss
      printf "  clean %.1f %%  robust %.1f %%", 100 * clean, 100 * robust
      printf "  held out %.1f %%, %.1f %%", 100 * held, 100 * held_robust }')
  [ "$(tail -n 1 lines)" = "$want" ] || fail "training's line is '$(tail -n 1 lines)', not '$want'"
  grep '"event":"epoch"' line.jsonl | sed 's/.*"seconds"://; s/}.*//' >own
  awk -v clock="$clock" '
    NR == FNR { own[NR] = own[NR - 1] + $1; next }
    {
      split($2, epoch, "/")
      split($5, left, ":")
      seconds = 60 * left[1] + left[2]
      done = (epoch[1] - 1 + $3 / 100) / 30
      beyond = done + 0.01 / 30
      if (seconds > (1 - done) / done * clock + 0.5 || seconds < (1 - beyond) / beyond * own[epoch[1] - 1] - 0.5)
        wrong = 1
    }
    END { exit wrong || FNR < 2 }' own lines || fail "the time left is not that of the rest: $clock s, $(cat lines)"
  TERM=xterm script -qec "stty cols 40; '$fgsm' train '$model' images-idx3-ubyte --method fgsm --eps 0.01 \
    --epochs 1 --watch 0 --device cpu" /dev/null </dev/null >terminal 2>&1
  drawn 40
  grep -Eq '^epoch 1/1, 100 %  0:00 left  [0-9]+/s$' lines || fail "no progress on a narrow terminal: $(cat lines)"
fi
expect 0 train --init torch --out out/robust.onnx
cmp -s first.onnx out/robust.onnx || fail "the same seed trained another model"
expect 0 train --init torch --seed 4 --out out/robust.onnx
! cmp -s first.onnx out/robust.onnx || fail "another seed trained the same model"
rm -rf out && mkdir out
expect 0 "$fgsm" attack first.onnx images-idx3-ubyte --eps 0.1 --device "$device" --json
member 150 samples
expect 0 "$fgsm" train --arch mlp:20 images-idx3-ubyte --eps 0.1 --epochs 1 --batch 25 --out out/m.onnx
exists m.onnx m.onnx.checkpoint
expect 2 "$fgsm" train --arch mlp:20 "$model" images-idx3-ubyte --eps 0.1
says "data alone"
expect 2 "$fgsm" train images-idx3-ubyte --eps 0.1
says "or --arch"
expect 2 "$fgsm" train --arch lenet6 images-idx3-ubyte --eps 0.1
says "there is tiny-cnn"
expect 2 train --method none
says "one of clean"
expect 2 "$fgsm" train "$model" images-idx3-ubyte --epochs 1
says "eps"
expect 2 train --optimizer adam --nesterov
says "nesterov"
cp "$model" own.onnx
expect 2 "$fgsm" train own.onnx images-idx3-ubyte --eps 0.1 --epochs 1 --out own.onnx
cmp -s "$model" own.onnx || fail "a refused run replaced the model"
expect 4 train --validation 150
says "none is left"
expect 4 train --out out/none/robust.onnx
says "out/none"
gone

# ---- conversion: there and back is the same
expect 0 "$fgsm" convert images-idx3-ubyte out/c.npy
expect 0 "$fgsm" convert out/c.npy out/back-images-idx3-ubyte --labels out/c.labels.npy --json
member 150 samples
cmp -s images-idx3-ubyte out/back-images-idx3-ubyte || fail "conversion changed the images"
cmp -s labels-idx1-ubyte out/back-labels-idx1-ubyte || fail "conversion changed the labels"
rm -rf out && mkdir out
expect 0 "$fgsm" convert images-idx3-ubyte out/c.npy --start 10 --limit 5 --out-type f32
expect 0 "$fgsm" convert out/c.npy out/back-images-idx3-ubyte --out-type u8
[ "$(tail -c 3920 out/back-images-idx3-ubyte | sha256sum)" = \
  "$(tail -c +7857 images-idx3-ubyte | head -c 3920 | sha256sum)" ] || fail "bytes through floats"
expect 2 "$fgsm" convert images-idx3-ubyte images-idx3-ubyte
rm -rf out && mkdir out
expect 4 "$fgsm" convert short-images-idx3-ubyte out/c.npy
gone

echo "$checks checks, $failures failed"
[ "$failures" = 0 ] && [ "$checks" -gt 140 ]
