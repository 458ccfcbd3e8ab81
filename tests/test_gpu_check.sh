#!/bin/sh
# test_gpu_check.sh SOURCE_DIR JSON_GET: scripts/gpu-check with stand-ins for all that it runs, which succeed, fail,
# hang or are not there: each step has its line in the table that comes last and in the JSON beside it, no step
# is left out in silence, limits hold, and the exit status says whether all is well. What a card answers is not
# looked at here.
set -u
source=$1 json_get=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bin=$work/tree/bin
failed=0
fail() {
  echo "FAIL $*"
  failed=1
}

# stand_in NAME: a program of the tree or of the machine, by what it is to do.
stand_in() {
  cat >"$bin/$1"
  chmod +x "$bin/$1"
}

# A tree where everything succeeds, and a clock by which every limit is a second.
make_tree() {
  rm -rf "$work/tree" "$work/out"
  mkdir -p "$bin" "$work/tree/share/fgsm/golden"
  cp "$source/scripts/gpu-check" "$bin/"
  for program in device-cases device-nets device-training bench-ops ladder compute-sanitizer; do
    echo "echo '$program is \"well\"'" | stand_in "$program"
  done
  echo 'echo "NVIDIA Fake, 1.0, 2 MiB, 3 MHz"' | stand_in nvidia-smi
  echo 'touch glyphs-test-images-idx3-ubyte' | stand_in glyphs
  echo 'echo "torch is well"' | stand_in python3
  stand_in timeout <<'END'
shift 3
exec /usr/bin/timeout -k 1 1 "$@"
END
  stand_in fgsm <<'END'
case $1 in
  devices) echo 'cpu    this one'; echo 'cuda   a card' ;;
  version) echo 'fgsm 0.1' ;;
  bench) echo '"images_per_second": 5' ;;
  attack)
    while [ $# -gt 1 ] && [ "$1" != --out ]; do shift; done
    echo the same >"$2"
    ;;
esac
END
}

# check STATUS [ARGUMENT...]: what it says is in $work/said, its last lines, the table, in $work/table.
check() {
  expected=$1
  shift
  PATH="$bin:/usr/bin:/bin" sh "$bin/gpu-check" --out "$work/out" "$@" >"$work/said" 2>&1
  code=$?
  [ $code = "$expected" ] || fail "exit status $code, not $expected: $(tail -3 "$work/said")"
  sed -n '/^$/,$p' "$work/said" | sed 1,2d >"$work/table"
}

# row STEP STATUS WORDS: the table's line and the JSON's.
row() {
  grep -q "^$1  *$2  *[0-9]* s  .*$3" "$work/table" || fail "$1 is not '$2 ... $3': $(grep "^$1 " "$work/table")"
  grep -q "\"step\": \"$1\", \"status\": \"$2\"" "$work/out/gpu-check.json" || fail "$1: not in the JSON"
}

steps='cases nets training training-bf16 pipeline memcheck racecheck synccheck initcheck ops ladder bench torch torch-train'
n_steps=$(echo "$steps" | wc -w)
all_are_there() {
  [ "$(wc -l <"$work/table")" = "$n_steps" ] || fail "not $n_steps lines in the table: $(cat "$work/table")"
  [ "$("$json_get" steps $((n_steps - 1)) step <"$work/out/gpu-check.json")" = torch-train ] ||
    fail "not $n_steps steps in the JSON"
}

make_tree
check 0
all_are_there
for step in $steps; do row "$step" ok ''; done
[ "$(head -1 "$work/out/card.txt")" = 'NVIDIA Fake, 1.0, 2 MiB, 3 MHz' ] || fail 'not the card'

# Whatever fails or hangs is told, and the rest goes on.
make_tree
echo 'echo 3 broken; exit 1' | stand_in device-cases
echo 'echo slow; sleep 30' | stand_in device-nets
stand_in compute-sanitizer <<'END'
case $2 in racecheck) echo a hazard; exit 9 ;; esac
END
stand_in ladder <<'END'
kill -SEGV $$
END
stand_in python3 <<'END'
case $1 in -c) ;; *) echo no kernel; exit 1 ;; esac
END
check 1
all_are_there
row cases FAILED 'exit code 1: 3 broken'
row nets 'too long' 'slow'
row racecheck FAILED 'exit code 9: a hazard'
row memcheck ok ''
row ladder FAILED 'exit code 139'
row torch FAILED 'exit code 1: no kernel'
row torch-train FAILED 'exit code 1: no kernel'
row bench ok 'images_per_second'

# Steps of several commands: an attack that hangs, or writes other bytes than the cpu's; a bench without a rate.
make_tree
sed -i 's/^  attack)/  attack) case " $* " in *" cuda "*) sleep 30 ;; esac/' "$bin/fgsm"
sed -i 's/images_per_second/nothing/' "$bin/fgsm"
check 1
row pipeline FAILED 'fgsm on cuda: exit code 124'
row bench FAILED 'exit code 1'
make_tree
# What the stand-in expands is meant.
# shellcheck disable=SC2016
sed -i 's/echo the same/case $2 in cuda.npy) echo not same ;; *) echo the same ;; esac/' "$bin/fgsm"
check 1
row pipeline FAILED 'bytes differ'

# Where time runs out, steps get what is left, and in the end a second each. The clock here is quick.
make_tree
stand_in date <<'END'
[ "$1" = +%s ] || exec /usr/bin/date "$@"
now=$(($(cat "$CLOCK" 2>/dev/null || echo 1000) + 15))
echo $now | tee "$CLOCK"
END
stand_in timeout <<'END'
echo "$3" >>"$LIMITS"
shift 3
exec "$@"
END
CLOCK=$work/clock LIMITS=$work/limits
export CLOCK LIMITS
check 0
[ "$(head -1 "$LIMITS")" = 120 ] || fail "the first limit is $(head -1 "$LIMITS")"
[ "$(tail -1 "$LIMITS")" = 1 ] || fail "the last limit is $(tail -1 "$LIMITS"): $(tr '\n' ' ' <"$LIMITS")"

# What is not there is skipped, and said.
make_tree
rm "$bin/compute-sanitizer" "$bin/ladder"
echo 'exit 1' | stand_in python3
check 0
all_are_there
for step in memcheck racecheck synccheck initcheck; do row $step skipped 'no compute-sanitizer'; done
row ladder skipped 'not built'
row torch skipped 'no PyTorch'
row torch-train skipped 'no PyTorch'

make_tree
check 0 --only cases,bench
[ "$(cut -d' ' -f1 "$work/table" | tr '\n' ' ')" = 'cases bench ' ] || fail "--only: $(cat "$work/table")"

make_tree
sed -i '/^  devices/d' "$bin/fgsm"
check 5
grep -q "no device 'cuda' to be had" "$work/said" || fail 'a missing card is not said'
check 2 --nonsense

[ "$failed" = 0 ] && echo 'gpu-check tells what happens'
exit "$failed"
