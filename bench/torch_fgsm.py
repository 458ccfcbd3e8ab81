"""FGSM in PyTorch at its best, and `fgsm bench`, timed one beside the other.

PyTorch gets frozen parameters, folded batch-norms where its tools fold them, channels first or last,
torch.compile or not (whole_step), CUDA graphs or not, the data on the device already; the fastest of them
is what is compared with, and named. Both sides compute x' = clip(x + eps sign(gradient of the cross-entropy));
neither looks at x' afterwards."""

import copy
import json
import statistics
import subprocess
import time
import warnings

import torch
import torch.nn.functional as F

EPS = 8 / 255


def fold(net):
    from torch.fx.experimental.optimization import fuse
    return fuse(net)


def step(net, x, y):
    x = x.detach().requires_grad_(True)
    loss = F.cross_entropy(net(x).float(), y, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x)
    with torch.no_grad():
        return (x + EPS * gradient.sign()).clamp_(0, 1)


def whole_step(mode):
    """step, compiled as one graph from x to x'. mode: torch.compile's, and after a + each what inductor
    switches on besides, such as max-autotune+freezing+cpp-wrapper. Freezing packs weights ahead and folds
    batch-norms; it wants a caller with gradients off, and parameters in the graph. A graph that broke at the
    gradient would not be kept: dynamo would trace the step anew in each call."""
    from torch import _dynamo, _inductor
    _dynamo.config.trace_autograd_ops = True
    _dynamo.config.prepare_freezing = True
    mode, *switches = mode.split("+")
    options = _inductor.list_mode_options(mode) | {name.replace("-", "_"): True for name in switches}

    def taped(net, x, y):
        with torch.enable_grad():
            return step(net, x, y)

    return torch.no_grad()(torch.compile(taped, options=options, dynamic=False, fullgraph=True))


class Variant:
    """One way of running it: called, it does one batch."""

    def __init__(self, name, net, x, y, compiled=None, graph=False):
        self.name, self.x, self.y = name, x, y
        self.net = net
        self.run = step if compiled is None else whole_step(compiled)
        self.graph = None
        if graph:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(3):
                    self.run(self.net, x, y)
            torch.cuda.current_stream().wait_stream(stream)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.out = self.run(self.net, x, y)

    def __call__(self):
        if self.graph:
            self.graph.replay()
        else:
            self.out = self.run(self.net, self.x, self.y)


def variants(net, shape, batch, device, dtype, compile_modes):
    """All that can be made; a net that a tool cannot take is left out with a line that says so."""
    if compile_modes:
        from torch import _dynamo
        _dynamo.reset()  # what was compiled for other nets and batches
        _dynamo.config.recompile_limit = 64  # step is compiled once for each variant
    y = torch.randint(0, 5, (batch,), device=device)
    forms = [("plain", net)]
    try:
        forms.append(("folded", fold(net)))
    except Exception as why:  # fx raises whatever the net makes it raise
        print(f"    not folded: {type(why).__name__}")
    for folded, form in forms:
        form = copy.deepcopy(form).to(device, dtype)
        layouts = [torch.contiguous_format] + ([torch.channels_last] if len(shape) == 3 else [])
        for layout in layouts:
            laid = copy.deepcopy(form).to(memory_format=layout) if len(shape) == 3 else form
            x = torch.rand(batch, *shape, device=device).to(dtype)
            x = x.to(memory_format=layout) if len(shape) == 3 else x
            for mode in [None] + compile_modes:
                own_graph = mode is not None and mode.split("+")[0] == "max-autotune"
                graphs = [False] if device == "cpu" or own_graph else [False, True]
                for graph in graphs:
                    words = [folded, "channels last" if layout == torch.channels_last else "",
                             f"compiled ({mode})" if mode else "", "CUDA graph" if graph else ""]
                    name = ", ".join(word for word in words if word)
                    try:
                        with warnings.catch_warnings():
                            warnings.simplefilter("ignore")
                            made = Variant(name, laid, x, y, mode, graph)
                            made()
                    except Exception as why:  # a compiler that fails is not the fastest
                        said = next(iter(str(why).splitlines()), "")
                        print(f"    {name}: {type(why).__name__}: {said[:160]}", flush=True)
                        continue
                    yield made


def settle(device):
    if device != "cpu":
        torch.cuda.synchronize()


def seconds(run, device, least=0.05, calls=1, warm_up=True):
    """Of so many calls, over as many times as many as take `least` seconds; to warm up, after one that does not
    count."""
    if warm_up:
        run()
        settle(device)
    n, began = 0, time.perf_counter()
    while True:
        for _ in range(calls):
            run()
        n += 1
        if device == "cpu" or n % 8 == 0:
            settle(device)
            took = time.perf_counter() - began
            if took >= least:
                return took / n


def ours(fgsm, path, batch, device, precision, threads, runs):
    """Seconds of one batch that lies on the device already, median of `runs`; and what the device is."""
    command = [fgsm, "bench", str(path), "--eps", "8/255", "--batch", str(batch), "--device", device,
               "--precision", precision, "--runs", str(runs), "--json", "--quiet"]
    if threads:
        command += ["--threads", str(threads)]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode != 0:
        raise RuntimeError(answer.stderr.strip())
    answer = json.loads(answer.stdout)
    return answer["batches"][0]["device_only"]["seconds_per_batch"]["median"], answer["device"]


class Steady:
    """fgsm in a process of its own (steady.c), planned once: called, seconds of one batch."""

    def __init__(self, program, path, batch, threads):
        self.process = subprocess.Popen(
            [program, str(path), "eps", "8/255", "device", "cpu", "batch", str(batch), "threads",
             str(threads), "no-verify", "true"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.device = self.line()

    def line(self):
        text = self.process.stdout.readline().strip()
        if not text:
            raise RuntimeError("bench-steady ended")
        return text

    def __call__(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.line())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate()


def quartiles(values):
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


NEAR = 1.1
# A call of so many seconds goes without another that awakens threads and fills caches.
LONG = 0.5
# OpenMP's idle threads look out for work before they sleep, for milliseconds, on cores that others want.
REST = 0.05


def screened(variants, device, rounds, least):
    """(seconds, variant), the fastest first: medians of rounds in each of which every one has its turn."""
    took = [[seconds(one, device, least) for one in variants] for _ in range(rounds)]
    medians = [statistics.median(times) for times in zip(*took)]
    return sorted(zip(medians, variants), key=lambda pair: pair[0])


def compare(theirs, our_seconds, device, rounds, screen=1, least=0.05, pieces=1, most_stay=2):
    """theirs: variants; our_seconds(): ours, of a batch that takes theirs so many calls. After `screen` rounds of
    one call among themselves those within a tenth of the fastest stay, `most_stay` at most, and go on in turns with
    ours, A B C A B C, in windows of at least so many seconds, and rest before each, until the threads of whoever was
    before sleep; the faster of them by its median is compared with. As a dictionary, in which those that stayed
    are told apart."""
    ranked = screened(list(theirs), device, screen, least)
    if not ranked:
        raise RuntimeError("PyTorch runs none of its variants")
    stay = [one for took, one in ranked if took <= NEAR * ranked[0][0]][:most_stay]
    warm_up = ranked[0][0] < LONG
    a, b = [], {one: [] for one in stay}
    for _ in range(rounds):
        time.sleep(REST)
        a.append(our_seconds())
        for one in stay:
            time.sleep(REST)
            b[one].append(seconds(one, device, least, pieces, warm_up))
    best = min(stay, key=lambda one: statistics.median(b[one]))
    ratios = [theirs / mine for mine, theirs in zip(a, b[best])]
    low, high = quartiles(ratios)
    return {"variant": best.name, "fgsm_seconds": statistics.median(a),
            "torch_seconds": statistics.median(b[best]), "ratio": statistics.median(ratios),
            "ratio_q1": low, "ratio_q3": high, "rounds": rounds, "pieces": pieces,
            "screening_rounds": screen,
            "screening": [{"variant": one.name, "seconds": took, "stays": one in stay}
                          for took, one in ranked]}
