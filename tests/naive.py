"""The oracle of the oracle: a network as scalar neurons, plain floats and loops, nothing else.

Written from the public contract alone. It neither imports neurograph nor does any arithmetic with NumPy, so an
error in the package cannot hide in it. Everything is one sample at a time: ``z = bias + aggregation(weight * value)``
and ``output = activation(z)``.
"""

import math
import statistics
from dataclasses import dataclass, field
from typing import NamedTuple

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


def sigmoid(z):
    """Logistic function that never overflows."""
    if z >= 0.0:
        return 1.0 / (1.0 + math.exp(-z))
    e = math.exp(z)
    return e / (1.0 + e)


def softplus(z):
    """log(1 + exp(z)) that never overflows."""
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def normal_cdf(z):
    """Distribution function of the standard normal."""
    return 0.5 * (1.0 + math.erf(z / math.sqrt(2.0)))


def normal_pdf(z):
    """Density of the standard normal."""
    return math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def sign(z):
    """-1, 0 or 1."""
    return float((z > 0) - (z < 0))


# name -> (function(z, p), derivative(z, p), parameter when none is given)
ACTIVATIONS = {
    "identity": (lambda z, p: z, lambda z, p: 1.0, None),
    "relu": (lambda z, p: max(z, 0.0), lambda z, p: float(z > 0), None),
    "leaky_relu": (lambda z, p: z if z > 0 else p * z, lambda z, p: 1.0 if z > 0 else p, 0.01),
    "clipped_relu": (lambda z, p: min(max(z, 0.0), p), lambda z, p: float(0 < z < p), 6.0),
    "elu": (lambda z, p: z if z > 0 else p * math.expm1(z), lambda z, p: 1.0 if z > 0 else p * math.exp(z), 1.0),
    "gelu": (lambda z, p: z * normal_cdf(z), lambda z, p: normal_cdf(z) + z * normal_pdf(z), None),
    "silu": (lambda z, p: z * sigmoid(z), lambda z, p: sigmoid(z) * (1.0 + z * (1.0 - sigmoid(z))), None),
    "sigmoid": (lambda z, p: sigmoid(z), lambda z, p: sigmoid(z) * (1.0 - sigmoid(z)), None),
    "tanh": (lambda z, p: math.tanh(z), lambda z, p: 1.0 - math.tanh(z) ** 2, None),
    "softplus": (lambda z, p: softplus(z), lambda z, p: sigmoid(z), None),
    "sin": (lambda z, p: math.sin(z), lambda z, p: math.cos(z), None),
    "gauss": (lambda z, p: math.exp(-z * z), lambda z, p: -2.0 * z * math.exp(-z * z), None),
    "step": (lambda z, p: float(z > 0), lambda z, p: 0.0, None),
    "abs": (lambda z, p: abs(z), lambda z, p: sign(z), None),
    "square": (lambda z, p: z * z, lambda z, p: 2.0 * z, None),
    "clamped": (lambda z, p: max(-1.0, min(1.0, z)), lambda z, p: float(-1 < z < 1), None),
    "hat": (lambda z, p: max(0.0, 1.0 - abs(z)), lambda z, p: -sign(z) if abs(z) < 1 else 0.0, None),
    "selu": (
        lambda z, p: SELU_SCALE * (z if z > 0 else SELU_ALPHA * math.expm1(z)),
        lambda z, p: SELU_SCALE * (1.0 if z > 0 else SELU_ALPHA * math.exp(z)),
        None,
    ),
    "lelu": (lambda z, p: z if z > 0 else 0.005 * z, lambda z, p: 1.0 if z > 0 else 0.005, None),
    "inv": (lambda z, p: 1.0 / z if z else 0.0, lambda z, p: -1.0 / (z * z) if z else 0.0, None),
    "log": (lambda z, p: math.log(max(1e-7, z)), lambda z, p: 1.0 / z if z > 1e-7 else 0.0, None),
    "exp": (
        lambda z, p: math.exp(max(-60.0, min(60.0, z))),
        lambda z, p: math.exp(z) if -60 < z < 60 else 0.0,
        None,
    ),
    "cube": (lambda z, p: z**3, lambda z, p: 3.0 * z * z, None),
}
AGGREGATIONS = ("sum", "mean", "product", "max", "min", "maxabs", "median")


def aggregate(kind, values):
    """One number from a list of weighted values; a product of nothing is 1, everything else of nothing is 0."""
    if not values:
        return 1.0 if kind == "product" else 0.0
    if kind == "sum":
        return math.fsum(values)
    if kind == "mean":
        return math.fsum(values) / len(values)
    if kind == "product":
        return math.prod(values)
    if kind == "maxabs":
        return max(values, key=abs)
    if kind == "median":
        return statistics.median(values)
    return {"max": max, "min": min}[kind](values)


def aggregate_derivative(kind, values):
    """Derivative of `aggregate` by each of its values, as a list."""
    n = len(values)
    if kind == "sum" or n == 0:
        return [1.0] * n
    if kind == "mean":
        return [1.0 / n for _ in values]
    if kind == "product":
        return [math.prod(values[:i] + values[i + 1 :]) for i in range(n)]
    if kind == "maxabs":
        return [float(v == max(values, key=abs)) / values.count(max(values, key=abs)) for v in values]
    if kind == "median":
        middle = sorted(values)[(n - 1) // 2], sorted(values)[n // 2]
        return [sum(0.5 * (v == m) / values.count(m) for m in middle) for v in values]
    best = {"max": max, "min": min}[kind](values) if values else 0.0
    ties = [i for i in range(n) if values[i] == best]
    return [1.0 / len(ties) if i in ties else 0.0 for i in range(n)]


@dataclass
class Neuron:
    """A neuron: what it is, who feeds it, and what the last sample left in it."""

    id: int
    activation: object = "identity"
    aggregation: str = "sum"
    bias: float = 0.0
    kind: str = "hidden"
    incoming: list = field(default_factory=list)  # [index of the connection, source neuron, weight]
    z: float = 0.0
    output: float = 0.0
    gradient: float = 0.0  # of the loss by `output`
    delta: float = 0.0  # of the loss by `z`

    def functions(self):
        """(function, derivative, parameter) of this neuron's activation."""
        name, given = self.activation if isinstance(self.activation, tuple) else (self.activation, None)
        function, derivative, default = ACTIVATIONS[name]
        return function, derivative, default if given is None else float(given)

    def weighted(self):
        """The values that arrive, each times its weight."""
        return [weight * source.output for _, source, weight in self.incoming]


class Gradients(NamedTuple):
    """What a backward pass leaves: gradients summed over the batch, and per sample values keyed by neuron id."""

    weights: list
    biases: dict
    outputs: dict
    gradients: dict
    deltas: dict


class NaiveNetwork:
    """A network from plain descriptions.

    `neurons` is a list of dicts (or `Neuron` keywords) with id, activation, aggregation, bias, kind ("input" or
    "hidden"); `connections` a list of (source id, target id, weight); `inputs` and `outputs` lists of ids.
    """

    def __init__(self, neurons, connections, inputs, outputs):
        self.neurons = {n["id"]: Neuron(**n) for n in neurons}
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.n_connections = len(connections)
        for index, (source, target, weight) in enumerate(connections):
            self.neurons[target].incoming.append([index, self.neurons[source], float(weight)])
        self.order = self._topological()

    def _topological(self):
        order, done = [], set()
        for start in self.neurons.values():
            stack = [(start, False)]
            while stack:
                neuron, expanded = stack.pop()
                if neuron.id in done:
                    continue
                if expanded:
                    done.add(neuron.id)
                    order.append(neuron)
                    continue
                stack.append((neuron, True))
                stack.extend((source, False) for _, source, _ in neuron.incoming if source.id not in done)
        return order

    def forward(self, sample):
        """Outputs (a list) for one sample (a sequence of numbers, one for each input)."""
        values = dict(zip(self.inputs, sample, strict=True))
        for neuron in self.order:
            if neuron.kind == "input":
                neuron.z = neuron.output = float(values[neuron.id])
            else:
                function, _, parameter = neuron.functions()
                neuron.z = neuron.bias + aggregate(neuron.aggregation, neuron.weighted())
                neuron.output = function(neuron.z, parameter)
        return [self.neurons[i].output for i in self.outputs]

    def predict(self, samples):
        """Outputs for several samples, a list of lists."""
        return [self.forward(sample) for sample in samples]

    def activations(self, samples):
        """Outputs of every neuron for several samples: a list of dicts by id."""
        rows = []
        for sample in samples:
            self.forward(sample)
            rows.append({n.id: n.output for n in self.neurons.values()})
        return rows

    def backward(self, samples, output_gradients):
        """Gradients of a loss whose derivative by outputs[sample][output] is `output_gradients`."""
        weights = [0.0] * self.n_connections
        biases = {i: 0.0 for i in self.neurons}
        outputs, gradients, deltas = ({i: [] for i in self.neurons} for _ in range(3))
        for sample, row in zip(samples, output_gradients, strict=True):
            self.forward(sample)
            for neuron in self.order:
                neuron.gradient = 0.0
            for i, g in zip(self.outputs, row, strict=True):
                self.neurons[i].gradient += float(g)
            for neuron in reversed(self.order):
                if neuron.kind == "input":
                    neuron.delta = neuron.gradient
                    continue
                _, derivative, parameter = neuron.functions()
                neuron.delta = neuron.gradient * derivative(neuron.z, parameter)
                biases[neuron.id] += neuron.delta
                slopes = aggregate_derivative(neuron.aggregation, neuron.weighted())
                for (index, source, weight), slope in zip(neuron.incoming, slopes, strict=True):
                    weights[index] += neuron.delta * slope * source.output
                    source.gradient += neuron.delta * slope * weight
            for i, neuron in self.neurons.items():
                outputs[i].append(neuron.output)
                gradients[i].append(neuron.gradient)
                deltas[i].append(neuron.delta)
        return Gradients(weights, biases, outputs, gradients, deltas)


def from_network(net):
    """The naive twin of a neurograph network, read through its public interface.

    Connections keep the order of ``net.connections``; a network with delays has no naive twin.
    """
    inputs = [int(i) for i in net.inputs.ids]
    neurons = [
        {
            "id": int(n.id),
            "activation": n.activation if isinstance(n.activation, str) else tuple(n.activation),
            "aggregation": n.aggregation,
            "bias": float(n.bias),
            "kind": "input" if int(n.id) in inputs else "hidden",
        }
        for n in net.neurons
    ]
    conns = net.connections
    assert not any(int(d) for d in conns.delay)
    triples = [(int(s), int(t), float(w)) for s, t, w in zip(conns.source, conns.target, conns.weight, strict=True)]
    return NaiveNetwork(neurons, triples, inputs, [int(i) for i in net.outputs.ids])


def unroll(net, steps):
    """A network with delays and time constants as a naive network without: every neuron once a step.

    Neurons are (id, step) for outputs, ("z", id, step) for what arrives and ("v", id, step) for potentials; before step
    0 everything is zero. Returns the naive network and, for each of its connections, the index in ``net.connections``
    that it stands for, or -1.
    """
    conns, inputs = net.connections, {int(i) for i in net.inputs.ids}
    edges = list(zip(conns.source, conns.target, conns.weight, conns.delay, strict=True))
    neurons, connections, origin = [], [], []

    def join(source, target, weight, index=-1):
        connections.append((source, target, float(weight)))
        origin.append(index)

    for step in range(-max([int(d) for *_, d in edges], default=0), steps):
        for n in net.neurons:
            i, before = int(n.id), step < 0
            if before or i in inputs:
                neurons.append({"id": (i, step), "kind": "input"})
                continue
            rate = 1.0 / float(n.time_constant)
            neurons.append({"id": ("z", i, step), "aggregation": n.aggregation, "bias": float(n.bias)})
            neurons.append({"id": ("v", i, step)})
            activation = n.activation if isinstance(n.activation, str) else tuple(n.activation)
            neurons.append({"id": (i, step), "activation": activation})
            join(("z", i, step), ("v", i, step), rate)
            if step:
                join(("v", i, step - 1), ("v", i, step), 1.0 - rate)
            join(("v", i, step), (i, step), 1.0)
        if step >= 0:
            for index, (source, target, weight, delay) in enumerate(edges):
                join((int(source), step - int(delay)), ("z", int(target), step), weight, index)
    inputs = [n["id"] for n in neurons if n.get("kind") == "input"]
    outputs = [(int(i), step) for step in range(steps) for i in net.outputs.ids]
    return NaiveNetwork(neurons, connections, inputs, outputs), origin
