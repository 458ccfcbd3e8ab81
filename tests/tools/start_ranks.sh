#!/bin/sh
# start_ranks.sh [WORDS] -n N COMMAND... : so many processes of it on this machine, told who they are by the
# variables that torchrun sets; mpirun's words in front of -n are passed over, so that it can stand in for
# it. Ends when all have ended, with the highest exit code. It ends none of them: they do that.
while [ "$1" != -n ]; do
  shift
done
n=$2
shift 2
export WORLD_SIZE="$n" LOCAL_WORLD_SIZE="$n" MASTER_ADDR=localhost MASTER_PORT=$((20000 + $$ % 20000))
i=0
started=
while [ $i -lt "$n" ]; do
  RANK=$i LOCAL_RANK=$i "$@" &
  started="$started $!"
  i=$((i + 1))
done
worst=0
for one in $started; do
  wait "$one"
  code=$?
  [ $code -gt $worst ] && worst=$code
done
exit $worst
