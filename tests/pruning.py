"""Small networks and an independent truth that the tests of pruning share."""

import numpy as np
import pytest

import neurograph as ng

#           0>2   0>3  0>4   1>2  1>3  1>4  2>5  2>6   3>5  3>6   4>5  4>6
WEIGHTS = [0.1, -0.2, 0.9, -0.1, 0.8, 0.7, 2.0, 3.0, -0.5, 4.0, 0.05, 5.0]


def chain(weights=WEIGHTS):
    """A 2-3-2 network with 12 connections of the given weights, inputs first; neurons 0 to 6."""
    net = ng.Network(seed=0, dtype="float64")
    net.add_inputs(2, name="inputs")
    net.add_neurons(3, name="hidden")
    net.add_outputs(2, name="outputs")
    net.add_connections([0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4], [2, 3, 4, 2, 3, 4, 5, 6, 5, 6, 5, 6], weight=weights)
    return net


def network(kind, activation="tanh", dtype="float64", seed=0):
    """A "layered" network, or a "dag" with connections over several generations; 6 inputs, 4 outputs."""
    if kind == "layered":
        net = ng.topologies.layered([6, 12, 8, 4], activation=activation, dtype=dtype, seed=seed)
    else:
        net = ng.topologies.random_dag(6, 14, 4, 0.6, activation=activation, dtype=dtype, seed=seed)
    hidden = net.neurons - net.inputs
    hidden.bias = np.random.default_rng(seed).normal(size=len(hidden)) * 0.1
    return net


def batch(seed=0, count=24):
    """Inputs and labels for `network`."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 6)), rng.integers(0, 4, count)


def pairs(net):
    """(source, target) of every connection."""
    return set(zip(net.connections.source.tolist(), net.connections.target.tolist(), strict=True))


def everything(net):
    """All that an edit or a refused call could change: wiring, values, optimizer state, counters, random state."""
    conns, neurons = net.connections, net.neurons
    state = {name: conns.state(name).tolist() for name in conns.states}
    of_biases = {name: neurons.state(name).tolist() for name in neurons.states}
    return (
        conns.id.tolist(), conns.source.tolist(), conns.target.tolist(), conns.weight.tolist(), neurons.ids.tolist(),
        neurons.bias.tolist(), state, of_biases, dict(net.counters), net.rng.bit_generator.state,
    )  # fmt: skip


def torch_loss(net, X, y, temperature=1.0):
    """Cross-entropy of any DAG, neuron by neuron in torch, with the tensor of its weights."""
    torch = pytest.importorskip("torch")
    functions = {"tanh": torch.tanh, "relu": torch.relu, "identity": lambda z: z}
    conns = net.connections
    weight = torch.tensor(conns.weight, dtype=torch.float64, requires_grad=True)
    incoming = {}
    for i, (source, target) in enumerate(zip(conns.source.tolist(), conns.target.tolist(), strict=True)):
        incoming.setdefault(target, []).append((source, i))
    values = {id: torch.tensor(X[:, column]) for column, id in enumerate(net.inputs.ids.tolist())}
    for generation in net.schedule.generations:
        for id in np.asarray(generation).tolist():
            if id not in values:
                z = net.neuron(id).bias + sum(weight[i] * values[source] for source, i in incoming.get(id, []))
                z = z + torch.zeros(len(X), dtype=torch.float64)
                values[id] = functions[net.neuron(id).activation](z)
    outputs = torch.stack([values[id] for id in net.outputs.ids.tolist()], dim=1)
    return torch.nn.functional.cross_entropy(outputs / temperature, torch.tensor(y)), weight
