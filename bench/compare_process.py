"""What a whole process takes, fgsm's and PyTorch's: seconds from its start to the first attacked batch
(libraries, model, plan, batch), and peak memory.

    python compare_process.py [--fgsm PATH] [--nets NAME,...] [--batches N,...] [--threads N] [--rounds N]
                              [--exact] [--verify] [--cold]

PyTorch's process imports torch, builds the net, loads its weights from a file, and does one batch with
frozen parameters. fgsm's is `fgsm attack` on a file of one batch with --no-verify, so that both generate and
neither looks at what it made (with --verify fgsm's does); but without --exact it takes the first batch's gradient
twice more where it computes by more than plain sums, to tell how far the signs agree. What earlier processes
of fgsm found fastest lies in a cache (choice_cache.h), which one more has filled, of which nothing is told;
with --cold each begins with an empty one. PyTorch compiles nothing: that alone takes longer than its whole
process. Rounds go A B A B; medians are told. Memory is the largest resident set, of the process as a whole
and beyond that of one that has only loaded its libraries."""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fgsm", default="fgsm")
    parser.add_argument("--nets", default="resnet50")
    parser.add_argument("--batches", default="1,64")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--exact", action="store_true", help="fgsm by plain sums alone")
    parser.add_argument("--verify", action="store_true", help="fgsm looks at what it made")
    parser.add_argument("--cold", action="store_true", help="fgsm chooses between its kernels anew")
    parser.add_argument("--child", nargs=3, metavar=("NET", "WEIGHTS", "BATCH"), help=argparse.SUPPRESS)
    parser.add_argument("--files", nargs=3, metavar=("NET", "BATCH", "FOLDER"), help=argparse.SUPPRESS)
    return parser.parse_args()


def child(name, weights, batch, threads):
    """PyTorch's process."""
    import torch
    torch.set_num_threads(threads)
    if not name:
        return
    sys.path.insert(0, str(HERE))
    import torch_fgsm
    import torch_nets
    maker, shape = torch_nets.NETS[name]
    net = maker()
    net.load_state_dict(torch.load(weights))
    net = net.eval().requires_grad_(False)
    x, y = torch.rand(batch, *shape), torch.randint(0, 5, (batch,))
    torch_fgsm.step(net, x, y)


def measure(command, cache=None):
    """Seconds and peak bytes of a process. cache: the folder it keeps its choices in, if not the user's."""
    surroundings = os.environ | ({"XDG_CACHE_HOME": cache} if cache else {})
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=surroundings)
    words = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(words.decode(errors="replace"))
    return time.perf_counter() - began, usage.ru_maxrss * 1024


def make_files(name, batch, folder):
    """In a process of its own: what a child's peak is counted from is its parent's memory."""
    subprocess.run([sys.executable, __file__, "--files", name, str(batch), folder], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    at = f"{folder}/{name}"
    return f"{at}.onnx", f"{at}.pt", f"{at}-{batch}.npy", f"{at}-{batch}-labels.npy"


def write_files(name, batch, folder):
    import numpy
    import torch
    sys.path.insert(0, str(HERE))
    import torch_nets
    net, shape = torch_nets.make(name)
    torch_nets.export(net, shape, f"{folder}/{name}.onnx")
    torch.save(net.state_dict(), f"{folder}/{name}.pt")
    data, labels = f"{folder}/{name}-{batch}.npy", f"{folder}/{name}-{batch}-labels.npy"
    numpy.save(data, torch.rand(batch, *shape).numpy())
    numpy.save(labels, numpy.arange(batch) % 5)


def main():
    o = options()
    if o.child:
        return child(o.child[0], o.child[1], int(o.child[2]), o.threads)
    if o.files:
        return write_files(o.files[0], int(o.files[1]), o.files[2])
    me = [sys.executable, __file__, "--threads", str(o.threads), "--child"]
    _, their_bare = measure(me + ["", "", "0"])
    _, our_bare = measure([o.fgsm, "version"])
    with tempfile.TemporaryDirectory() as folder:
        for name in o.nets.split(","):
            for batch in o.batches.split(","):
                path, weights, data, labels = make_files(name, int(batch), folder)
                ours = [o.fgsm, "attack", path, data, "--labels", labels, "--eps", "8/255", "--batch",
                        batch, "--device", "cpu", "--threads", str(o.threads), "--quiet", "--json"]
                ours += ["--exact"] * o.exact + ["--no-verify"] * (not o.verify)
                warm = f"{folder}/warm"
                os.makedirs(warm, exist_ok=True)
                if not o.cold:
                    measure(ours, warm)
                mine, theirs = [], []
                for _ in range(o.rounds):
                    mine.append(measure(ours, tempfile.mkdtemp(dir=folder) if o.cold else warm))
                    theirs.append(measure(me + [name, weights, batch]))
                (a, a_bytes), (b, b_bytes) = ([statistics.median(column) for column in zip(*rows)]
                                              for rows in (mine, theirs))
                print(f"{name:14} {batch:>4}: fgsm {a:.2f} s, {a_bytes / 2**20:.0f} MiB "
                      f"({(a_bytes - our_bare) / 2**20:.0f} beyond its libraries), PyTorch {b:.2f} s, "
                      f"{b_bytes / 2**20:.0f} MiB ({(b_bytes - their_bare) / 2**20:.0f}): "
                      f"{a / b:.2f} of the time, {a_bytes / b_bytes:.2f} of the memory "
                      f"({(a_bytes - our_bare) / (b_bytes - their_bare):.2f})", flush=True)


if __name__ == "__main__":
    main()
