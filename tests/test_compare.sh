#!/bin/sh
# test_compare.sh FGSM SOURCE : PyTorch's side of the comparisons on a processor. What is compiled is one graph
# that is kept, and computes what the eager step does; a mode that cannot be built costs a line; whole processes
# of fgsm begin with the choices that they are said to. Skipped (77) where no Python has PyTorch and onnx
# (find_python.sh).
set -u
fgsm=$1
bench=$2/bench
python=$(sh "$2/tests/find_python.sh" "$2" 'torch, onnx') || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0
fail() {
  echo "$*"
  failed=1
}
TORCHINDUCTOR_CACHE_DIR=$work/inductor
export TORCHINDUCTOR_CACHE_DIR

cat >variants.py <<'PYTHON'
import sys

sys.path.insert(0, sys.argv[1])
import torch
import torch_fgsm
import torch_nets
from torch._dynamo.utils import counters

net, shape = torch_nets.make("acasxu")
for one in torch_fgsm.variants(net, shape, 4, "cpu", torch.float32, sys.argv[2:]):
    before = counters["stats"]["unique_graphs"]
    for _ in range(3):
        one.x.uniform_()
        one()
    assert torch.equal(one.out, torch_fgsm.step(one.net, one.x, one.y)), one.name
    assert (one.out != one.x).any() and (one.out - one.x).abs().max() <= torch_fgsm.EPS + 1e-6
    assert counters["stats"]["unique_graphs"] == before, f"{one.name} is traced again"
    print(one.name)
assert not counters["graph_break"], counters["graph_break"]
PYTHON
made() {
  [ "$(grep -c '^[pf]' stdout)" = "$1" ] || fail "of $1 variants there are: $(cat stdout)"
}
if command -v "${CXX:-g++}" >/dev/null && "$python" -c 'import os, sysconfig
os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null; then
  "$python" variants.py "$bench" default default+freezing+cpp-wrapper nosuch default+nosuch >stdout 2>stderr ||
    fail "compiled: $(cat stderr)"
  made 6
  grep -q '^    plain, compiled (nosuch): RuntimeError: .*nosuch' stdout || fail "it says $(cat stdout)"
  grep -q '^    plain, compiled (default+nosuch): RuntimeError: .*nosuch' stdout || fail "it says $(cat stdout)"
else
  echo 'no C++ compiler or no header of Python: what is compiled is not tested'
fi
CXX=/nonexistent TORCHINDUCTOR_CACHE_DIR=$work/none "$python" variants.py "$bench" default >stdout 2>stderr ||
  fail "without a compiler: $(cat stderr)"
made 2
[ "$(grep -c '^    .*compiled (default): .*compiler' stdout)" = 2 ] || fail "it says $(cat stdout)"

# What PyTorch is given at once follows from what it keeps, and a batch in pieces costs what they do.
cat >pieces.py <<'PYTHON'
import sys
import time

sys.path.insert(0, sys.argv[1])
import compare_torch
import torch
import torch_fgsm

net = torch.nn.Sequential(torch.nn.Linear(3, 256), torch.nn.ReLU(), torch.nn.Linear(256, 4))
assert compare_torch.kept(net.requires_grad_(False), (3,)) == 256 * 4  # what ReLU gave
for batch, most, piece in (64, None, 64), (64, 32, 32), (64, 20, 16), (96, 40, 32), (7, 3, 1):
    assert compare_torch.at_once(net, (3,), batch, most) == piece, (batch, most)
compare_torch.os.sysconf = lambda name: {"SC_PAGE_SIZE": 1024, "SC_PHYS_PAGES": 40}[name]
assert compare_torch.at_once(net, (3,), 64, None) == 16  # of 20 that half of the memory holds


class Slow:
    name, calls = "slow", 0

    def __call__(self):
        self.calls += 1
        time.sleep(0.01)


slow = Slow()
row = torch_fgsm.compare([slow], lambda: 0.01, "cpu", rounds=2, least=0, pieces=3)
assert slow.calls == (1 + 1) + 2 * (1 + 3), slow.calls
assert row["pieces"] == 3 and row["torch_seconds"] >= 0.03 and row["ratio"] >= 3, row
assert row["screening"][0]["seconds"] < row["torch_seconds"], row
PYTHON
"$python" pieces.py "$bench" >stdout 2>stderr || fail "in pieces: $(cat stderr)"

# A trained controller's weights, where there is one, are what the net has then.
controller=$(find "${FGSM_TEST_DATA:-$2/../shared/data}" -name 'ACASXU_*_1_1.onnx' 2>/dev/null | head -n 1)
cat >controller.py <<'PYTHON'
import sys

sys.path.insert(0, sys.argv[1])
import onnx.reference
import torch
import torch_nets

net, shape = torch_nets.make("acasxu")
torch_nets.load_dense(net, sys.argv[2])
model = onnx.load(sys.argv[2])
constants = {i.name for i in model.graph.initializer}
(takes,) = [i for i in model.graph.input if i.name not in constants]
x = torch.rand(1, *shape)
feed = x.reshape([d.dim_value or 1 for d in takes.type.tensor_type.shape.dim]).numpy()
(want,) = onnx.reference.ReferenceEvaluator(model).run(None, {takes.name: feed})
torch.testing.assert_close(net(x), torch.tensor(want).reshape(1, -1))
PYTHON
if [ -n "$controller" ]; then
  "$python" controller.py "$bench" "$controller" >stdout 2>stderr || fail "a controller: $(cat stderr)"
else
  echo 'no ACAS Xu controller: its weights are not tested'
fi

# How many choices lie in the cache when a process of fgsm begins, and when it ends.
cat >noting <<SH
#!/bin/sh
kept() {
  find "\$XDG_CACHE_HOME/" -type f | wc -l
}
[ "\$1" = attack ] || exec "$fgsm" "\$@"
before=\$(kept)
"$fgsm" "\$@" || exit
echo "\$before \$(kept)" >>"$work/kept"
SH
chmod +x noting
whole() {
  rm -f kept
  XDG_CACHE_HOME=$work/user "$python" "$bench/compare_process.py" --fgsm ./noting --nets resnet20 --batches 1 \
    --rounds 2 --threads 1 "$@" >stdout 2>stderr || fail "it does not run: $(cat stderr)"
  grep -q '^resnet20 .*: fgsm [0-9.]* s, .* of the memory' stdout || fail "it says $(cat stdout)"
  [ -e user ] && fail "the user's cache is used"
}
whole
awk '$1 != last + 0 { bad = 1 } { last = $2 } END { exit bad || NR != 3 }' kept || fail "warm: $(cat kept)"
whole --cold
awk '$1 != 0 { bad = 1 } END { exit bad || NR != 2 }' kept || fail "cold: $(cat kept)"
exit $failed
