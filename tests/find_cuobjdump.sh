#!/bin/sh
# find_cuobjdump.sh : prints the path of a cuobjdump with nvdisasm beside it, which show what nvcc made of
# a kernel; exits with 1, and a line on standard error, where there is none.
#
# They are looked for at FGSM_CUOBJDUMP (a program), in PATH, in CUDA_HOME, where scripts/get-cuda-tools puts
# them, and in Python's packages of nvidia and triton.
tools=$(cd "$(dirname "$0")/.." && pwd)/.cache/cuda-tools

for at in "${FGSM_CUOBJDUMP-}" "$(command -v cuobjdump || :)" "${CUDA_HOME-/usr/local/cuda}/bin/cuobjdump" \
  "$tools"/nvidia/*/bin/cuobjdump $(python3 -c '
import site
for folder in site.getsitepackages() + [site.getusersitepackages()]:
    print(folder + "/nvidia/cu13/bin/cuobjdump", folder + "/triton/backends/nvidia/bin/cuobjdump")
' 2>/dev/null || :); do
  [ -n "$at" ] && [ -x "$at" ] || continue
  [ -x "$(dirname "$at")/nvdisasm" ] || continue
  echo "$at"
  exit 0
done
echo 'no cuobjdump with nvdisasm beside it: the code of the CUDA kernels is not looked at' >&2
exit 1
