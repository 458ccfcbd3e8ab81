# Read by test_ranks.sh and test_ranks_cards.sh, which set mpirun and golden: a way to start processes, and
# 240 images of 6 x 6, the bytes of models, with labels. Skips the test where no two processes can be started.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# ranks N COMMAND... : so many processes of it.
ranks() {
  n=$1
  shift
  "$mpirun" --oversubscribe --bind-to none -n "$n" "$@"
}

timeout 60 "$mpirun" --oversubscribe --bind-to none -n 2 true >started 2>&1 </dev/null || {
  echo "skipped: mpirun starts no two processes on this machine: $(cat started)"
  exit 77
}

{
  printf '\000\000\010\003\000\000\000\360\000\000\000\006\000\000\000\006'
  cat "$golden/training.onnx" "$golden/training_smooth.onnx" "$golden/conv.onnx" | head -c 8640
} >images-idx3-ubyte
{
  printf '\000\000\010\001\000\000\000\360'
  i=0
  while [ $i -lt 80 ]; do
    printf '\001\002\000'
    i=$((i + 1))
  done
} >labels-idx1-ubyte
