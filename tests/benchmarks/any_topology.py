"""Figures for graphs of any shape: shared weights, growing fields, unions, loops through time, brains."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np

import neurograph as ng

from .harness import THREADS, against, set_threads


def shared_parameters(batch=128) -> list[dict]:
    """What a training step costs when the connections of receptive fields share parameters and when none does."""
    set_threads()
    rng = np.random.default_rng(0)
    X, Y = rng.random((batch, 784), dtype=np.float32), rng.integers(0, 10, batch)
    nets = {share: _fields_and_pool(share) for share in (True, False)}
    steps = {share: _trainer(net, X, Y) for share, net in nets.items()}
    figures = against(steps[False], steps[True], blocks=7, repeats=7)
    return [
        {
            "name": f"shared parameters: 28x28, fields of 25 and 72 connections, batch {batch}",
            "connections": nets[True].n_connections,
            "parameters": nets[True].n_parameters,
            "shared_ms": figures["peer_ms"],
            "free_ms": figures["ours_ms"],
            "cost": figures["ratio"],
            "cost_range": figures["ratio_range"],
            "target": "cost <= 1.3",
        }
    ]


def _fields_and_pool(share: bool) -> ng.Network:
    net = ng.Network(seed=0)
    maps = ng.topologies.fields(net, net.add_inputs((1, 28, 28)), 8, ng.topologies.box(5, 5), share=share)
    maps = ng.topologies.pool(net, maps, 2)
    maps = ng.topologies.fields(net, maps, 16, ng.topologies.box(3, 3), share=share)
    net.connect(maps, net.add_outputs(10))
    return net


def _trainer(net: ng.Network, X: np.ndarray, Y: np.ndarray, loss: str = "cross_entropy"):
    """A training step as a function: forward, backward, Adam."""
    optimizer = ng.optim.Adam(lr=1e-3)

    def step():
        net.backward(X, Y, loss=loss)
        optimizer.step(net)

    return step


def growing_circles(channels=8, batch=128, growth=0.2) -> list[dict]:
    """Disks that grow away from a centre, against PyTorch: a masked dense convolution for every distinct disk.

    The second row is the fastest way found in PyTorch: all patches unfolded, and one mask over them.
    """
    import torch
    from torch.nn import functional

    set_threads()
    rng = np.random.default_rng(0)
    X, Y = rng.random((batch, 784), dtype=np.float32), rng.integers(0, 10, batch)
    field = ng.topologies.fovea((13.5, 13.5), 1.0, growth)
    net = ng.Network(seed=0)
    image = net.add_inputs((1, 28, 28), name="image")
    maps = ng.topologies.fields(net, image, channels, field, padding="same", name="maps")
    pooled = ng.topologies.pool(net, maps, 2)
    dense = net.connect(pooled, net.add_outputs(10))

    # PyTorch's kernel is as wide as the largest disk; smaller ones are its middle, masked.
    kernel = maps.incoming
    channel, place = np.divmod(kernel.target - maps.ids[0], 784)
    (row, column), (y, x) = np.divmod(place, 28), np.divmod(kernel.source - image.ids[0], 28)
    reach = int(max(abs(y - row).max(), abs(x - column).max()))
    width = 2 * reach + 1
    tap = channel, 0, y - row + reach, x - column + reach
    start = np.zeros((channels, 1, width, width), np.float32)
    start[tap] = kernel.weight
    disks: dict[bytes, list] = {}
    for k in range(784):
        offsets = field(*divmod(k, 28))
        disks.setdefault(offsets.tobytes(), [offsets, torch.zeros(784)])[1][k] = 1
    shapes, patches = [], torch.zeros(width * width, 784)
    for offsets, where in disks.values():
        r = int(abs(offsets).max())
        disk = torch.zeros(2 * r + 1, 2 * r + 1)
        disk[tuple(offsets.T + r)] = 1
        shapes.append((r, disk, where.reshape(28, 28)))
        patches += functional.pad(disk, (reach - r,) * 4).reshape(-1, 1) * where

    def convolutions(x, weight):
        z = torch.zeros(())
        for r, disk, where in shapes:
            middle = slice(reach - r, reach + r + 1)
            z = z + where * functional.conv2d(x, weight[:, :, middle, middle] * disk, padding=r)
        return z

    def unfolded(x, weight):
        z = weight.reshape(channels, -1) @ (functional.unfold(x, width, padding=reach) * patches)
        return z.reshape(-1, channels, 28, 28)

    x, y = torch.from_numpy(X).reshape(-1, 1, 28, 28), torch.from_numpy(Y)
    ours, rows = _trainer(net, X, Y), []
    net.backward(X, Y, loss="cross_entropy")
    expected, gradients = net.last_outputs, (kernel.grad, dense.grad.reshape(10, -1))
    first = dense.weight.reshape(10, -1)
    for name, compute in (("one masked convolution a disk", convolutions), ("masked patches, one product", unfolded)):
        # `ours` has moved on after the first row, but it costs the same wherever its weights are.
        weight, bias = torch.tensor(start, requires_grad=True), torch.zeros(channels, 1, 1, requires_grad=True)
        readout = torch.nn.Linear(channels * 196, 10)
        with torch.no_grad():
            readout.weight.copy_(torch.from_numpy(first))
            readout.bias.zero_()
        adam = torch.optim.Adam([weight, bias, *readout.parameters()], lr=1e-3, fused=True)

        def outputs(compute=compute, weight=weight, bias=bias, readout=readout):
            maps = functional.relu(compute(x, weight) + bias)
            return readout(functional.max_pool2d(maps, 2).flatten(1))

        def step(outputs=outputs, adam=adam):
            adam.zero_grad()
            functional.cross_entropy(outputs(), y).backward()
            adam.step()

        got = outputs()
        functional.cross_entropy(got, y).backward()
        _require_close(f"outputs, {name}", got.detach().numpy(), expected, 1e-4)
        _require_close(f"kernel gradients, {name}", weight.grad.numpy()[tap], gradients[0], 1e-4)
        _require_close(f"read-out gradients, {name}", readout.weight.grad.numpy(), gradients[1], 1e-4)
        rows.append(
            {
                "name": f"growing circles, {channels} channels, batch {batch}, against {name}",
                "connections": net.n_connections,
                "disks": len(shapes),
                **against(ours, step, blocks=5, repeats=5, peer_repeats=2, peer_warm=1),
                "target": "ratio >= 1",
            }
        )
    return rows


def union(n_networks=1000, n_neurons=20, batch=64) -> list[dict]:
    """Many small evolved networks in one call, against one after another and against neat-python, sample by sample.

    neat-python runs a tenth of the networks, and its time is multiplied.
    """
    set_threads()
    nets, genomes, config = _evolved(n_networks, n_neurons)
    import neat

    start = time.perf_counter()
    big = ng.union(nets, share_inputs=True)
    united = time.perf_counter()
    X = np.random.default_rng(0).normal(size=(batch, big.n_inputs)).astype(np.float32)
    together = big.predict(X)
    planned = time.perf_counter()
    samples, share = X.tolist(), 10
    peers = [neat.nn.FeedForwardNetwork.create(genome, config) for genome in genomes[::share]]

    def one_by_one():
        return [net.predict(X) for net in nets]

    def neat_python():
        return [[peer.activate(sample) for sample in samples] for peer in peers]

    _require_close("outputs, one by one", together, np.concatenate(one_by_one(), axis=1), 1e-5)
    theirs = np.array(neat_python())
    ours = together.reshape(batch, n_networks, -1)[:, ::share].swapaxes(0, 1)
    _require_close("outputs, neat-python", ours, theirs, 1e-4)
    size = f"{n_networks:,} networks of {n_neurons} neurons, batch {batch}"
    costs = {"connections": big.n_connections, "union_s": united - start, "first_call_s": planned - united}
    return [
        {
            "name": f"union of {size}, against one by one",
            **costs,
            **against(lambda: big.predict(X), one_by_one, blocks=7, repeats=20, peer_repeats=3, peer_warm=1),
            "target": "ratio >= 50",
        },
        {
            "name": f"union of {size}, against neat-python (1 network in {share}, times {share})",
            **against(
                lambda: big.predict(X), neat_python, blocks=7, repeats=20, peer_repeats=3, peer_warm=1, scale=share
            ),
            "target": "ratio >= 500",
        },
    ]


def _evolved(count: int, n_neurons: int):
    """Networks of one size from genomes that neat-python mutated until they had it, and the genomes."""
    import neat

    from ..test_convert_neat import CONFIG

    # Without those that become two neurons here, and those that leave the numbers a float32 has.
    text = CONFIG.format(
        feed_forward=True, activations="sigmoid tanh gauss relu identity abs clamped hat", aggregations="sum"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "config")
        with open(path, "w") as file:
            file.write(text)
        parts = neat.DefaultGenome, neat.DefaultReproduction, neat.DefaultSpeciesSet, neat.DefaultStagnation
        config = neat.Config(*parts, path)
    kind = config.genome_config
    kind.innovation_tracker = neat.innovation.InnovationTracker()
    kind.node_add_prob, kind.node_delete_prob = 0.9, 0.0  # to get there in some twenty mutations
    wanted = n_neurons - len(kind.input_keys)
    random.seed(0)
    nets, genomes = [], []
    while len(nets) < count:
        genome = neat.DefaultGenome(len(nets))
        genome.configure_new(kind)
        while len(genome.nodes) < wanted:
            genome.mutate(kind)
        # Deleted connections leave nodes that nothing reaches any more, and neat-python runs without them.
        while len(neat.nn.FeedForwardNetwork.create(genome, config).node_evals) < wanted:
            genome.mutate(kind)
        net = ng.from_neat(genome, config)
        if net.n_neurons == n_neurons:
            nets.append(net)
            genomes.append(genome)
    return nets, genomes, config


class _Loop:
    """What a peer needs to run h_t = tanh(W h_(t-1) + b + d_t), arrays of (neurons, batch), from h = 0.

    Every recurrent connection has delay 1, and d_t is the input, which each input neuron gives to one neuron.
    """

    def __init__(self, net: ng.Network, X: np.ndarray, labels: np.ndarray):
        every = net.connections
        loop, feed = every[every.delay == 1], every[every.delay == 0]
        # Sorted by row, as a CSR matrix wants it; inputs were added last, so that ids are rows.
        loop = loop[np.lexsort((loop.source, loop.target))]
        self.connections, self.row, self.column, self.weight = loop, loop.target, loop.source, loop.weight
        self.n = net.n_neurons - net.n_inputs
        self.bias = net.neurons.bias[: self.n, None]
        self.drive = np.zeros((X.shape[1], self.n, len(X)), np.float32)
        self.drive[:, feed.target] = X.transpose(1, 2, 0)[:, np.searchsorted(net.inputs.ids, feed.source)]
        self.outputs, self.labels = net.outputs.ids, labels

    def row_ends(self, rows: np.ndarray) -> np.ndarray:
        """Where each row of a CSR matrix begins, and the last one ends."""
        return np.searchsorted(rows, np.arange(self.n + 1)).astype(np.int32)


def _torch_loop(loop: _Loop, by_hand: bool):
    """The same in PyTorch with a sparse CSR matrix: a pass over so many steps, and what an optimizer trains.

    PyTorch's derivative of the product sorts the matrix again at every step. ``by_hand`` transposes it once a pass.
    """
    import torch

    # 32-bit indices are what MKL multiplies with.
    shape, pattern = (loop.n, loop.n), (loop.row_ends(loop.row), loop.column.astype(np.int32))
    turn = np.lexsort((loop.row, loop.column))
    turned = loop.row_ends(loop.column[turn]), loop.row[turn].astype(np.int32)
    drive, labels, outputs, turn = map(torch.from_numpy, (loop.drive, loop.labels, loop.outputs, turn))
    pattern, turned = tuple(map(torch.from_numpy, pattern)), tuple(map(torch.from_numpy, turned))
    bias, weight = torch.tensor(loop.bias, requires_grad=True), torch.tensor(loop.weight)
    # Adam takes no CSR matrix, but it can train the values that one is made of.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that CSR is in beta
        matrix = torch.sparse_csr_tensor(*pattern, weight, shape).requires_grad_(not by_hand)
    weight = matrix.detach().values().requires_grad_(True)

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, weight, h, transposed):
            ctx.save_for_backward(h, transposed)
            return torch.sparse.mm(matrix, h)

        @staticmethod
        def backward(ctx, g):
            h, transposed = ctx.saved_tensors
            by_weight = torch.sparse.sampled_addmm(matrix, g, h.t(), beta=0.0).values()
            return by_weight, torch.sparse.mm(transposed, g), None

    def run(steps: int = len(loop.drive)):
        weight.grad = matrix.grad = bias.grad = None
        transposed = torch.sparse_csr_tensor(*turned, weight.detach()[turn], shape) if by_hand else None
        h = torch.tanh(bias + drive[0])
        for d in drive[1:steps]:
            z = Product.apply(weight, h, transposed) if by_hand else torch.sparse.mm(matrix, h)
            h = torch.tanh(z + bias + d)
        read = h[outputs].t()
        torch.nn.functional.cross_entropy(read, labels).backward()
        if not by_hand:
            weight.grad = matrix.grad.values()
        return read.detach().numpy(), weight.grad.numpy()

    return run, (weight, bias)


def _flydnet_loop(loop: _Loop):
    """The same with flydnet's own engine, as its ConnectomeLayer uses it: one matrix and its transpose a pass."""
    os.environ["FLYDNET_THREADS"] = str(THREADS)
    from flydnet import ganglion
    from flydnet.ganglion import kernels

    wiring, _ = ganglion.wiring(loop.row, loop.column, loop.n, loop.n)
    weight, bias = ganglion.Signal(loop.weight, plastic=True), ganglion.Signal(loop.bias, plastic=True)

    def run(steps: int = len(loop.drive)):
        weight.retro = bias.retro = None
        matrix, transposed = kernels.matrices(wiring, weight.data)
        h = (bias + loop.drive[0]).tanh()
        for d in loop.drive[1:steps]:
            h = (kernels.propagate(h, weight, matrix, transposed, wiring) + bias + d).tanh()
        read = h[loop.outputs].T
        ganglion.surprise(read, loop.labels).retrograde()
        return read.data, weight.retro

    return run


def _agree(net: ng.Network, X: np.ndarray, loop: _Loop, run, name: str) -> None:
    """A peer's outputs and gradients over the steps of X are ours."""
    read, gradient = run(X.shape[1])
    net.backward(X, loop.labels, loss="cross_entropy")
    _require_close(f"outputs, {name}", read, net.last_outputs, 1e-3)
    _require_close(f"gradients, {name}", gradient, loop.connections.grad, 1e-3)


def recurrent(n_neurons=10_000, n_connections=1_000_000, steps=50, batch=32, few=6) -> list[dict]:
    """Forward and backward of a loop in which every connection has delay 1, against torch.sparse CSR and flydnet.

    Peers that take a second a step run a ``few`` steps, and their time is multiplied by the number of products.
    """
    set_threads()
    net = ng.Network(seed=0)
    h = net.add_neurons(n_neurons, activation="tanh")
    x = net.add_inputs(100)
    net.mark_outputs(h[-10:])
    net.add_connections(x.ids, h[:100].ids, weight=1.0).frozen = True
    net.connect(h, h, density=n_connections / n_neurons**2, weight="lecun", delay=1)
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(batch, steps, 100)).astype(np.float32), rng.integers(0, 10, batch)
    loop = _Loop(net, X, Y)
    name = f"recurrent, {n_neurons:,} neurons, {len(loop.row):,} connections, {steps} steps, batch {batch}, against"
    scale = (steps - 1) / (few - 1)
    brief = {"peer_repeats": 1, "peer_warm": 0}

    def ours():
        net.backward(X, Y, loss="cross_entropy")

    by_hand, plain = _torch_loop(loop, True)[0], _torch_loop(loop, False)[0]
    _agree(net, X, loop, by_hand, "torch.sparse, derivative by hand")
    _agree(net, X[:, :few], loop, plain, "torch.sparse")
    rows = [
        {
            "name": f"{name} torch.sparse CSR (over {few} steps, times {scale:g})",
            **against(ours, lambda: plain(few), blocks=2, repeats=2, scale=scale, **brief),
            "target": "ratio >= 3",
        },
        {
            "name": f"{name} torch.sparse CSR with a derivative written by hand",
            **against(ours, by_hand, blocks=3, repeats=2, **brief),
        },
    ]
    if importlib.util.find_spec("flydnet") is None:
        return [*rows, {"name": f"{name} flydnet", "skipped": "flydnet is not installed"}]
    theirs = _flydnet_loop(loop)
    _agree(net, X[:, :few], loop, theirs, "flydnet")
    return [
        *rows,
        {
            "name": f"{name} flydnet (over {few} steps, times {scale:g})",
            **against(ours, lambda: theirs(few), blocks=2, repeats=2, scale=scale, **brief),
            "target": "ratio >= 1",
        },
    ]


def larva(steps=20, batch=32) -> list[dict]:
    """A training step of the fruit-fly larva's brain, all its connections trainable, against torch.sparse CSR."""
    import torch

    set_threads()
    net = ng.topologies.connectome("larva")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(batch, steps, net.n_inputs)).astype(np.float32)
    Y = rng.integers(0, net.n_outputs, batch)
    loop, ours, rows = _Loop(net, X, Y), _trainer(net, X, Y), []
    peers = {by_hand: _torch_loop(loop, by_hand) for by_hand in (False, True)}
    for run, _ in peers.values():
        _agree(net, X, loop, run, "torch.sparse")
    for by_hand, (run, trained) in peers.items():
        adam = torch.optim.Adam(trained, lr=1e-3, fused=True)

        def step(run=run, adam=adam):
            run()
            adam.step()

        name = f"larva's brain, {len(loop.row):,} connections, {steps} steps, batch {batch}, against torch.sparse CSR"
        figures = against(ours, step, blocks=3, repeats=5, peer_repeats=2, peer_warm=1)
        if by_hand:
            rows.append({"name": f"{name} with a derivative written by hand", **figures})
        else:
            rows.append({"name": name, **figures, "target": "ratio >= 5"})
    return rows


def bptt_memory(n_neurons=5_000, batch=64) -> list[dict]:
    """Bytes that back-propagation through time adds to a process at its peak, a process for every number of steps.

    ``slope`` is in activations a neuron, sample and step: over one pass, and over three in a row, as in training.
    """
    code = (
        "import resource, sys, numpy as np, neurograph as ng\n"
        "steps, passes, recompute = map(int, sys.argv[1:])\n"
        "def peak():\n"
        "    if sys.platform == 'linux':\n"  # where ru_maxrss begins with what the parent process had
        "        return 1024 * int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "    unit = 1 if sys.platform == 'darwin' else 1024\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit\n"
        "def network(n):\n"
        "    net = ng.Network()\n"
        "    h, x = net.add_neurons(n, activation='tanh'), net.add_inputs(1)\n"
        "    net.connect(x, h), net.connect(h, h, density=3 / n, delay=1), net.mark_outputs(h[:10])\n"
        "    return net\n"
        f"warm, net = network(10), network({n_neurons - 1})\n"
        f"X, Y = np.ones(({batch}, steps, 1)), np.zeros(({batch}, 10))\n"
        "net.plan, warm.backward(X[:1, :4], Y[:1], recompute=bool(recompute))\n"
        "before = peak()\n"
        "for _ in range(passes): net.backward(X, Y, recompute=bool(recompute))\n"
        "print(peak() - before)"
    )

    def added(steps: int, passes: int = 1, recompute: bool = False) -> int:
        arguments = [sys.executable, "-c", code, str(steps), str(passes), str(int(recompute))]
        return int(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)

    lengths, unit = np.array([25, 50, 100, 200]), n_neurons * batch * 4
    slopes = {k: float(np.polyfit(lengths, [added(t, k) for t in lengths], 1)[0]) / unit for k in (1, 3)}
    few, many = added(100, recompute=True), added(400, recompute=True)
    name = f"memory of back-propagation through time, {n_neurons:,} neurons, batch {batch}"
    return [
        {
            "name": f"{name}, {lengths[0]} to {lengths[-1]} steps",
            "slope": slopes[1],
            "slope_in_training": slopes[3],
            "target": "both slopes <= 1.15",
        },
        {
            "name": f"{name}, recompute=True",
            "mb_at_100_steps": few / 1e6,
            "mb_at_400_steps": many / 1e6,
            "growth": many / few,
            "target": "growth <= 2.5",
        },
    ]


def _require_close(what: str, got: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Both are the same function: by the largest difference in units of the largest value."""
    off = float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-30))
    if not off <= tolerance:
        raise AssertionError(f"{what} differ by {off:.2g} of the largest, more than {tolerance:g}")


CASES = {f.__name__: f for f in (shared_parameters, growing_circles, union, recurrent, larva, bptt_memory)}
