#!/bin/sh
# find_python.sh SOURCE MODULES : prints the first Python that has the modules (as after `import`) of FGSM_TEST_PYTHON,
# what scripts/bench made, and python3; exits with 1, and a line, where none has.
for python in ${FGSM_TEST_PYTHON:+"$FGSM_TEST_PYTHON"} "$1/build-bench/venv/bin/python" python3; do
  "$python" -c "import $2" >/dev/null 2>&1 && echo "$python" && exit 0
done
echo "no Python has $2: FGSM_TEST_PYTHON names one that does" >&2
exit 1
