"""fgsm beside PyTorch on the same processor cores (torch_fgsm.py says how), with torchattacks' and
foolbox's FGSM as they come among PyTorch's variants where they are installed.

    python compare_torch.py [--steady PATH] [--nets NAME,...] [--batches N,...] [--threads N]
                            [--compile MODE,...] [--screen N] [--stay N] [--rounds N] [--most N]
                            [--json FILE] [--acasxu FILE]

PATH is the program bench-steady of the build folder. All of PyTorch's variants are timed in --screen
rounds; the fastest, and the next where it is within a tenth (--stay 2), go on beside fgsm for --rounds, A B A B.
What is told are medians and quartiles of the pairwise ratio, and which variants were left behind. Nets
have random weights. How long an attack takes does not depend on them, but for dense nets with ReLU, of which
fgsm leaves out what is zero, in large ones where it has AVX2 alone: with random weights about half, in trained nets
more. FILE is an ACAS Xu controller (ACASXU_*.onnx), whose weights that net has then.

PyTorch keeps what every layer gives. A batch of which that is more than half of the machine's memory, or of more than
--most samples, it attacks in like pieces, which is said; fgsm is given the whole.

MODE is torch.compile's and what inductor switches on besides, such as default+freezing+cpp-wrapper
(torch_fgsm.py's whole_step); it needs a C++ compiler and Python's headers, and minutes for a deep net. A mode
that cannot be built is told in one line and left out. OMP_WAIT_POLICY is best left unset: where it is passive,
each of the many short loops that inductor makes waits for threads that sleep."""

import argparse
import datetime
import json
import os
import pathlib
import sys
import tempfile

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import torch_fgsm
import torch_nets

NETS = ("lenet5", "resnet20", "resnet18", "wrn-16-4", "resnet50", "mobilenet-v2", "vit-tiny", "acasxu",
        "mlp")


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steady", default="build/bench/bench-steady")
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--batches", default="1,64,512")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--compile", default="", help="such as default,max-autotune+freezing")
    parser.add_argument("--screen", type=int, default=3)
    parser.add_argument("--stay", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--most", type=int, help="samples that PyTorch is given at once")
    parser.add_argument("--json")
    parser.add_argument("--acasxu", help="a trained controller's ONNX file")
    return parser.parse_args()


class Library:
    """An attack library's FGSM as it comes: called, it does one batch."""

    def __init__(self, name, run):
        self.name, self.run = name, run

    def __call__(self):
        self.run()


def libraries(net, shape, batch):
    x, y = torch.rand(batch, *shape), torch.randint(0, 5, (batch,))
    try:
        import torchattacks
        attack = torchattacks.FGSM(net, eps=torch_fgsm.EPS)
        yield Library("torchattacks", lambda: attack(x, y))
    except ImportError:
        print("    torchattacks is not installed")
    try:
        import foolbox
        model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
        fast = foolbox.attacks.LinfFastGradientAttack(random_start=False)
        yield Library("foolbox", lambda: fast.run(model, x, foolbox.criteria.Misclassification(y),
                                                  epsilon=torch_fgsm.EPS))
    except ImportError:
        print("    foolbox is not installed")


def kept(net, shape):
    """Bytes that a sample leaves for the way back, each counted once."""
    known, total = {one.data_ptr() for one in (*net.parameters(), *net.buffers())}, 0

    def count(one):
        nonlocal total
        if one.data_ptr() not in known:
            known.add(one.data_ptr())
            total += one.numel() * one.element_size()
        return one

    with torch.autograd.graph.saved_tensors_hooks(count, lambda one: one):
        net(torch.rand(1, *shape, requires_grad=True)).sum()
    return total


def at_once(net, shape, batch, most):
    """Of a batch, the samples that PyTorch is given at once: the largest of its parts that fits."""
    memory, each = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), kept(net, shape)
    most = min(batch, most or batch, max(1, memory // 2 // max(1, each)))
    piece = next(n for n in range(most, 0, -1) if batch % n == 0)
    if piece < batch:
        print(f"    of {batch} PyTorch would keep {batch * each / 1e9:.1f} GB: it is given {piece} at once")
    return piece


def main():
    o = options()
    torch.set_num_threads(o.threads)
    modes = [mode for mode in o.compile.split(",") if mode]
    if modes and os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive":
        print("    OMP_WAIT_POLICY=passive: what is compiled is far slower than without")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in o.nets.split(","):
            net, shape = torch_nets.make(name)
            if name == "acasxu" and o.acasxu:
                torch_nets.load_dense(net, o.acasxu)
                print(f"    acasxu has the weights of {pathlib.Path(o.acasxu).name}")
            path = torch_nets.export(net, shape, f"{folder}/{name}.onnx")
            for batch in map(int, o.batches.split(",")):
                piece = at_once(net, shape, batch, o.most)
                theirs = list(torch_fgsm.variants(net, shape, piece, "cpu", torch.float32, modes))
                others = list(libraries(net, shape, piece))
                with torch_fgsm.Steady(o.steady, path, batch, o.threads) as fgsm:
                    row = {"net": name, "batch": batch} | torch_fgsm.compare(
                        theirs + others, fgsm, "cpu", o.rounds, o.screen, pieces=batch // piece,
                        most_stay=o.stay)
                rows.append(row)
                print(f"{name:14} {batch:4}: fgsm {batch / row['fgsm_seconds']:10.1f}/s, PyTorch "
                      f"{batch / row['torch_seconds']:10.1f}/s ({row['variant']}), {row['ratio']:.2f}x "
                      f"({row['ratio_q1']:.2f} to {row['ratio_q3']:.2f})", flush=True)
                for one in row["screening"]:
                    print(f"    screened at {piece / one['seconds']:10.1f}/s: {one['variant']}"
                          f"{'' if one['stays'] else ', left behind'}", flush=True)
                if o.json:  # what is there already is not lost when a later net fails
                    answer = {"date": datetime.date.today().isoformat(), "torch": torch.__version__,
                              "device": fgsm.device, "threads": o.threads, "rows": rows}
                    pathlib.Path(o.json).write_text(json.dumps(answer, indent=2) + "\n")


if __name__ == "__main__":
    main()
