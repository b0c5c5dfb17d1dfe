"""Random edits between training steps: a network on the GPU and its twin on the CPU stay the same network.

``NEUROGRAPH_TEST_EDITS`` says how many edits the slow test makes; without it 10,000 on a GPU, fewer on the emulation.
"""

import os

import numpy as np
import pytest

import neurograph as ng

from ..device import EMULATED

FEW, MANY, FEWER = 30, 10_000, 300
EVERY = 10  # edits between two comparisons
ACTIVATIONS = ("tanh", "relu", "sigmoid", "gelu", "identity", ("leaky_relu", 0.1))
INPUTS, OUTPUTS = 7, 4
TOLERANCE = {"float64": 1e-9, "float32": 2e-4}


class Twins:
    """Two networks that every edit is made in, and that are trained on the same samples.

    A step in float32 differs by its rounding, and small differences grow in training: there, the CPU's parameters are
    written to both after each comparison.
    """

    def __init__(self, backend, dtype, seed, shared=False):
        self.rng, self.dtype, self.done = np.random.default_rng(seed), dtype, dict.fromkeys(EDITS, 0)
        self.made = 0  # edits that were not refused
        self.nets = [ng.Network(seed=1, dtype=dtype, backend=name) for name in (backend, "cpu")]
        self.optimizers = [ng.optim.Adam(lr=1e-3) if dtype == "float64" else ng.optim.SGD(lr=0.02) for _ in self.nets]
        for net in self.nets:
            inputs = net.add_inputs(INPUTS)
            hidden = net.add_neurons(24, activation="tanh")
            outputs = net.add_outputs(OUTPUTS)
            net.connect(inputs, hidden, density=0.5)
            net.connect(hidden, hidden, density=0.2)
            net.connect(inputs | hidden, outputs, density=0.4)
            if shared:
                net.tie(net.connections[::3], np.arange(len(net.connections[::3])) % 4, average=True)

    @property
    def cpu(self):
        """The twin that decisions are read from."""
        return self.nets[1]

    def each(self, edit):
        """The same in both; both take it or both refuse it."""
        ends = []
        for net in self.nets:
            try:
                edit(net)
                ends.append(None)
            except ng.NeurographError as error:
                ends.append(type(error))
        assert ends[0] == ends[1]
        self.made += ends[0] is None

    def hidden(self):
        """Ids of the neurons that are neither inputs nor outputs."""
        every = self.cpu.neurons.ids
        return np.setdiff1d(every, np.concatenate([self.cpu.inputs.ids, self.cpu.outputs.ids]))

    def step(self, batch):
        """A training step on both."""
        X = self.rng.normal(size=(batch, INPUTS)).astype(self.dtype)
        Y = self.rng.integers(0, OUTPUTS, batch)
        for net, optimizer in zip(self.nets, self.optimizers, strict=True):
            net.backward(X, Y, loss="cross_entropy")
            optimizer.step(net)

    def compare(self):
        """Outputs, parameters and gradients agree."""
        gpu, cpu = self.nets
        assert gpu.n_connections == cpu.n_connections and gpu.n_neurons == cpu.n_neurons
        np.testing.assert_array_equal(gpu.connections.source, cpu.connections.source)
        np.testing.assert_array_equal(gpu.connections.target, cpu.connections.target)
        X = self.rng.normal(size=(5, INPUTS)).astype(self.dtype)
        Y = self.rng.integers(0, OUTPUTS, 5)
        for net in self.nets:
            net.backward(X, Y, loss="cross_entropy")
        pairs = {
            "outputs": [net.predict(X) for net in self.nets],
            "weights": [net.connections.weight for net in self.nets],
            "gradients": [net.connections.grad for net in self.nets],
            "biases": [net.neurons.bias for net in self.nets],
            "gradients of biases": [net.neurons.bias_grad for net in self.nets],
        }
        for what, (got, expected) in pairs.items():
            largest = max(np.abs(expected).max(initial=0), 1e-3)
            off = np.abs(np.asarray(got) - expected).max(initial=0) / largest
            assert off <= TOLERANCE[self.dtype], f"{what} differ by {off:.2g} of the largest after {self.done}"
        if self.dtype == "float32":
            gpu.connections.weight, gpu.neurons.bias = cpu.connections.weight, cpu.neurons.bias


def add_connection(t):
    source, target = (int(t.rng.choice(t.cpu.neurons.ids)) for _ in range(2))
    t.each(lambda net: net.connect(source, target, weight=0.1))


def remove_connection(t):
    if t.cpu.n_connections < 60:
        return
    every = t.cpu.connections
    k = t.rng.integers(len(every))
    source, target = int(every.source[k]), int(every.target[k])
    t.each(lambda net: net.connection(source, target).remove())


def remove_several(t):
    if t.cpu.n_connections < 120:
        return
    chosen = np.sort(t.rng.choice(t.cpu.n_connections, t.rng.integers(2, 20), replace=False))
    t.each(lambda net: net.connections[chosen].remove())


def add_several(t):
    hidden = t.hidden()
    ids = t.rng.choice(hidden, min(6, len(hidden)), replace=False)
    t.each(lambda net: net.connect(net.inputs, net.group(ids), density=0.3))


def add_neurons(t):
    if t.cpu.n_neurons > 80:
        return
    which, count = t.rng.integers(len(ACTIVATIONS)), int(t.rng.integers(1, 4))
    sources = t.rng.choice(np.concatenate([t.cpu.inputs.ids, t.hidden()]), 5, replace=False)

    def edit(net):
        made = net.add_neurons(count, activation=ACTIVATIONS[which], bias=0.05)
        net.connect(net.group(sources), made, weight=0.2)
        net.connect(made, net.outputs, weight=-0.1)

    t.each(edit)


def remove_neuron(t):
    hidden = t.hidden()
    if len(hidden) < 12:
        return
    gone = int(t.rng.choice(hidden))
    t.each(lambda net: net.remove_neurons(net.group([gone])))


def set_weight(t):
    k, value = int(t.rng.integers(t.cpu.n_connections)), float(t.rng.normal(scale=0.3))

    def edit(net):
        net.connections[k : k + 1].weight = value

    t.each(edit)


def set_neuron(t):
    neuron, which = int(t.rng.choice(t.hidden())), t.rng.integers(len(ACTIVATIONS))

    def edit(net):
        net.neuron(neuron).activation = ACTIVATIONS[which]
        net.neuron(neuron).bias = 0.1

    t.each(edit)


def freeze(t):
    k, flag = int(t.rng.integers(t.cpu.n_connections)), bool(t.rng.integers(2))

    def edit(net):
        net.connections[k : k + 1].frozen = flag

    t.each(edit)


def set_everything(t):
    factor = float(t.rng.uniform(0.9, 1.1))

    def edit(net):
        net.connections.weight = net.connections.weight * factor

    t.each(edit)


# How often each is drawn: single connections most of all.
EDITS = {
    add_connection: 8, remove_connection: 8, remove_several: 1, add_several: 1, add_neurons: 1, remove_neuron: 1,
    set_weight: 3, set_neuron: 1, freeze: 1, set_everything: 0.2,
}  # fmt: skip


def run(twins, count):
    """So many edits, a step after some of them, and a comparison every so often."""
    names = list(EDITS)
    chances = np.array([EDITS[edit] for edit in names]) / sum(EDITS.values())
    last = 0
    while twins.made < count:
        edit = names[twins.rng.choice(len(names), p=chances)]
        edit(twins)
        twins.done[edit] += 1
        if twins.rng.random() < 0.5:
            twins.step(int(twins.rng.choice([1, 3, 8, 33])))
        if twins.made >= last + EVERY:
            last = twins.made
            twins.compare()
    twins.compare()


@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_few_edits(gpu, dtype, shared):
    run(Twins(gpu, dtype, 3, shared), FEW)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "share"), [("float32", 1), ("float64", 5)])
def test_many_edits(gpu, dtype, share):
    """Ten thousand on a GPU, of every kind; a fifth of them once more in float64, which is compared to nine digits."""
    usual = FEWER if gpu == EMULATED else MANY
    count = int(os.environ.get("NEUROGRAPH_TEST_EDITS", usual)) // share
    twins = Twins(gpu, dtype, 5)
    run(twins, count)
    assert twins.made >= count and (count < 200 or all(twins.done.values()))
