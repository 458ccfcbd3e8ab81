#!/bin/sh
# test_compare_train.sh FGSM SOURCE JSON-GET : training beside PyTorch, on a processor and a tiny net: both
# sides train, and what is told holds together. Skipped (77) where no Python has PyTorch
# (find_python.sh).
set -u
fgsm=$1
bench=$2/bench
json_get=$3
python=$(sh "$2/tests/find_python.sh" "$2" 'torch') || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0
fail() {
  echo "$*"
  failed=1
}

compare() {
  "$python" "$bench/gpu_compare_train_torch.py" --fgsm "$fgsm" --device cpu --arch tiny-cnn --batch 32 \
    --lr 0.01 --threads 1 --rounds 2 "$@" >stdout 2>stderr </dev/null
}
told() {
  "$json_get" "$1" <out.json
}
holds() {
  awk "BEGIN { exit !($1) }" || fail "not so: $1"
}

compare --steps 120 --json out.json || { cat stdout stderr; fail 'it does not run'; }
grep -q '^tiny-cnn 32 fp32: fgsm [0-9]* samples/s, PyTorch [0-9]* (eager)' stdout || fail "it says $(cat stdout)"
# Ten classes, told apart by their colours: a net that learns is better than guessing.
for side in fgsm torch; do
  holds "$(told ${side}_loss) > 0 && $(told ${side}_loss) < 0.95 * log(10)"
  holds "$(told ${side}_seconds) > 0"
done
holds "$(told ratio_q1) <= $(told ratio) && $(told ratio) <= $(told ratio_q3)"

# Data of the user's own; too little of it.
for label in 0 1 2 3 4 5 6 7 8 9; do
  printf '\\%03o' $label | xargs -0 printf
  head -c 3072 /dev/zero
done >ten.bin
cat ten.bin ten.bin ten.bin ten.bin ten.bin ten.bin ten.bin >own.bin
compare --steps 2 --rounds 1 --data own.bin || { cat stdout stderr; fail 'it does not take data'; }
compare --steps 3 --data own.bin && fail 'it takes what is too little'
grep -q '96 samples are wanted, and there are 70' stderr || fail "it says $(cat stderr)"
# What fgsm refuses is told.
compare --steps 2 --precision bf16 && fail 'it goes on without fgsm'
grep -q 'precision bf16 is not to be had on cpu' stderr || fail "it says $(cat stderr)"

# What draws the samples, moves and mirrors them; and the twin that is attacked is the net itself.
"$python" - "$bench" <<'PYTHON' || fail 'samples are drawn or attacked in another way'
import sys

sys.path.insert(0, sys.argv[1])
import torch
import torch_train

torch.manual_seed(1)
images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8)
index = torch.randperm(40)
drawn = torch_train.draw(torch_train.lay(images), index)
wide = torch.nn.functional.pad(images[index].float() / 255, (4, 4, 4, 4))
places, mirrored = set(), 0
for one, at in zip(wide, drawn):
    found = [(y, x, flip) for y in range(9) for x in range(9) for flip in (False, True)
             if torch.equal(one[:, y:y + 32, x:x + 32].flip(2) if flip else one[:, y:y + 32, x:x + 32], at)]
    assert len(found) == 1
    places.add(found[0][:2])
    mirrored += found[0][2]
assert len(places) > 20 and 8 < mirrored < 32

for form in ("plain", "autocast", "masters"):
    labels = torch.randint(0, 10, (40,))
    step = torch_train.Step(form, torch_train.NETS["preact-resnet18"](), images, labels,
                            torch_train.Recipe(batch=4, steps=10), form)
    before = [weight.detach().clone() for weight in step.masters]
    norm = next(m for m in step.twin.modules() if isinstance(m, torch.nn.BatchNorm2d))
    mean = norm.running_mean.clone()
    for _ in range(2):
        step()
    assert all(not torch.equal(a, b) for a, b in zip(before, step.masters)), form
    assert not torch.equal(mean, norm.running_mean), form
    for mine, theirs in zip(step.twin.parameters(), step.net.parameters()):
        assert mine.data_ptr() == theirs.data_ptr() and not mine.requires_grad and mine.grad is None
    for weight, master in zip(step.weights, step.masters):
        assert torch.equal(weight, master.to(weight.dtype)), form

net = torch_train.NETS["tiny-cnn"]()
x, y = torch.rand(8, 3, 32, 32), torch.randint(0, 10, (8,))
loss_at = lambda at: torch.nn.functional.cross_entropy(net(at), y)
attacked = torch_train.rs_fgsm(loss_at, x, 8 / 255, 10 / 255)
assert (attacked - x).abs().max() <= 8 / 255 + 1e-6 and 0 <= attacked.min() and attacked.max() <= 1
assert loss_at(attacked) > loss_at(x)
PYTHON
exit $failed
