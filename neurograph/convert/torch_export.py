"""Networks to PyTorch modules that compute and train the same function."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import require
from ..errors import NotSupportedError
from ..functions.activations import EXP_LIMIT, GAUSS_LIMIT, LELU_SLOPE, LOG_FLOOR
from ..network import Network
from .libraries import library

if TYPE_CHECKING:
    import torch

# A block of connections becomes a dense matrix where that has at most this many entries for each connection: beyond,
# gathering the sources and adding up segments is faster (and takes batch x connections of memory).
DENSE_AT = 16
SEGMENTS = {"sum": "sum", "mean": "mean", "product": "prod"}


def to_torch(net: Network) -> torch.nn.Module:
    """Make a PyTorch module that computes what a network computes, and learns what it would learn.

    Its parameters are two vectors: ``weight``, one entry for each parameter of the connections, and ``bias``, one for
    each of the neurons' biases, in ascending order of ``net.connections.parameter`` and ``net.neurons.bias_parameter``.
    What is frozen is a buffer instead. Gradients by ``loss.backward()`` are those of `Network.backward`, so any PyTorch
    optimizer trains the network; ``module.write_to(net)`` brings its parameters back.

    Parameters
    ----------
    net : Network
        The module is a copy: later changes to the network do not reach it.

    Returns
    -------
    torch.nn.Module
        ``forward(x)`` takes (batch, n_inputs) and returns (batch, n_outputs). Of a network with delays or time
        constants it takes (batch, time, n_inputs) and returns (batch, time, n_outputs), starting from zero.

    Raises
    ------
    InvalidValueError
        If the network has no outputs.
    MissingDependencyError
        If PyTorch is not installed.

    Examples
    --------
    >>> import torch, neurograph as ng
    >>> net = ng.topologies.random_dag(3, 10, 2, density=0.5, seed=0)
    >>> module = to_torch(net)
    >>> x = torch.randn(4, 3)
    >>> bool(abs(module(x).detach().numpy() - net.predict(x.numpy())).max() < 1e-5)
    True
    >>> module(x).square().sum().backward()
    >>> torch.optim.SGD(module.parameters(), lr=0.1).step()
    >>> module.write_to(net)
    """
    library("torch", "torch")
    require(net.n_outputs > 0, "the network has no outputs; mark_outputs of the neurons that the module should return")
    return _classes()["NetworkModule"](net)


def __getattr__(name: str) -> Any:
    """The classes, made when they are first asked for (also by pickle), since importing PyTorch takes seconds."""
    if name in ("Block", "Generation", "NetworkModule", "Nothing"):
        return _classes()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Layout:
    """Where every neuron stands: generation after generation, in each by aggregation and activation.

    Parameters
    ----------
    net : Network

    Attributes
    ----------
    ids : ndarray of int, shape (n_neurons,)
        Neurons by position; the inputs come first.
    starts : ndarray of int
        First position of each generation, and the end.
    """

    def __init__(self, net: Network):
        inputs = net.inputs.ids
        neurons = net.neurons
        kind = {
            id: (str(a), str(f)) for id, a, f in zip(neurons.ids, neurons.aggregation, neurons.activation, strict=True)
        }
        generations = [inputs]
        for generation in net.schedule.generations:
            others = np.setdiff1d(generation, inputs)
            if len(others):
                generations.append(np.array(sorted(others.tolist(), key=lambda id: (*kind[id], id))))
        self.ids = np.concatenate(generations)
        self.starts = np.cumsum([0, *map(len, generations)])
        self._of_id = np.empty(self.ids.max() + 1, np.int64)
        self._of_id[self.ids] = np.arange(len(self.ids))

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """Positions of neurons."""
        return self._of_id[ids]


@functools.cache
def _classes() -> dict[str, type]:
    torch: Any = library("torch", "torch")

    class Block(torch.nn.Module):
        """Pre-activations, without the bias, of the neurons of one generation that aggregate alike."""

        def __init__(self, aggregation: str, layout: Layout, start: int, end: int, conns: np.ndarray):
            """``conns`` has columns for source, target, delay and place of the weight, and is sorted by target."""
            super().__init__()
            self.aggregation, self.width = aggregation, end - start
            source, target, delay, index = conns.T
            keys, local = np.unique(delay * layout.starts[-1] + source, return_inverse=True)
            reads = np.divmod(keys, layout.starts[-1])
            # Pieces of the sources: (delay, generation or -1 for a whole step of the past, index in it).
            generation = np.where(reads[0] == 0, np.searchsorted(layout.starts, reads[1], side="right") - 1, -1)
            self.pieces: list[tuple[int, int, bool]] = []
            for d, g in np.unique(np.stack([reads[0], generation]), axis=1).T.tolist():
                positions = reads[1][(reads[0] == d) & (generation == g)] - (layout.starts[g] if g >= 0 else 0)
                width = layout.starts[g + 1] - layout.starts[g] if g >= 0 else layout.starts[-1]
                whole = len(positions) == width  # unique and ascending, so they are all in order
                self._keep(f"read{len(self.pieces)}", np.zeros(0, int) if whole else positions)
                self.pieces.append((d, g, whole))
            rows, place, fan_in = np.unique(target - start, return_inverse=True, return_counts=True)
            self.n_sources, self.every_row = len(keys), len(rows) == self.width
            self.dense = aggregation in ("sum", "mean") and self.n_sources * self.width <= DENSE_AT * len(source)
            self._keep("index", index)
            self._keep("source", local)
            self._keep("target", target - start)
            self._keep("rows", rows)
            self._keep("place", place)  # of each connection's target among the rows
            self._keep("offsets", np.concatenate([[0], np.cumsum(fan_in)]))

        def _keep(self, name: str, values: np.ndarray) -> None:
            self.register_buffer(name, torch.as_tensor(np.asarray(values, np.int64)), persistent=False)

        def prepare(self, weight):
            """What one forward pass needs of the weights, whatever the number of steps."""
            weight = weight[self.index]
            if not self.dense:
                return weight[:, None]
            if self.aggregation == "mean":
                weight = weight / torch.diff(self.offsets).to(weight)[self.place]
            matrix = weight.new_zeros(self.width, self.n_sources)
            return matrix.index_put((self.target, self.source), weight)

        def forward(self, weight, generations, past):
            """Shape (width, batch); ``past[-d]`` is the whole step d steps ago."""
            pieces = []
            for number, (delay, generation, whole) in enumerate(self.pieces):
                values = generations[generation] if delay == 0 else past[-delay]
                pieces.append(values if whole else values[getattr(self, f"read{number}")])
            sources = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
            if self.dense:
                return weight @ sources
            terms = sources[self.source] * weight
            joined = self._joined(terms)
            if self.every_row:
                return joined
            neutral = 1.0 if self.aggregation == "product" else 0.0
            return joined.new_full((self.width, joined.shape[1]), neutral).index_copy(0, self.rows, joined)

        def _joined(self, terms):
            if self.aggregation in SEGMENTS:
                return self._segments(terms, SEGMENTS[self.aggregation])
            with torch.no_grad():
                bests = self._middle(terms) if self.aggregation == "median" else [self._best(terms)]
                reached = [(terms == best[self.place]).to(terms) for best in bests]
                # Terms that tie share the gradient evenly.
                share = sum(r / self._segments(r, "sum")[self.place] for r in reached) / len(reached)
            return self._segments(torch.where(share > 0, terms, 0) * share, "sum")

        def _best(self, terms):
            if self.aggregation != "maxabs":
                return self._segments(terms, self.aggregation)
            size, number = terms.abs(), torch.arange(len(terms), device=terms.device).to(terms)[:, None]
            farthest = size == self._segments(size, "max")[self.place]
            oldest = self._segments(torch.where(farthest, number, len(terms)), "min")
            return terms.gather(0, oldest.long())

        def _middle(self, terms):
            """The middle two terms of each row."""
            order = terms.argsort(dim=0, stable=True)
            order = order.gather(0, self.place[order].argsort(dim=0, stable=True))  # row by row, ascending in each
            count = torch.diff(self.offsets)
            places = self.offsets[:-1] + (count - 1) // 2, self.offsets[:-1] + count // 2
            return [terms.gather(0, order[place]) for place in places]

        def _segments(self, terms, kind):
            return torch.segment_reduce(terms, kind, offsets=self.offsets, axis=0)

    class NetworkModule(torch.nn.Module):
        """A network of any shape; see `neurograph.to_torch`."""

        def __init__(self, net: Network):
            super().__init__()
            layout, conns = Layout(net), net.connections
            neurons = net.group(layout.ids[net.n_inputs :])
            weight_index = self._add("weight", conns.parameter, conns.weight, conns.frozen)
            bias_index = self._add("bias", neurons.bias_parameter, neurons.bias, neurons.bias_frozen)
            self.register_buffer("bias_index", torch.as_tensor(bias_index), persistent=False)
            outputs = torch.as_tensor(layout.positions(net.outputs.ids))
            self.register_buffer("outputs", outputs, persistent=False)
            self.n_inputs, self.remembers = net.n_inputs, net.remembers
            self.max_delay = int(conns.delay.max(initial=0))
            target = layout.positions(conns.target)
            columns = np.stack([layout.positions(conns.source), target, conns.delay, weight_index], axis=1)
            columns = columns[np.argsort(target, kind="stable")]
            aggregation, activation, tau = neurons.aggregation, neurons.activation, neurons.time_constant
            self.generations = torch.nn.ModuleList()
            for start, end in zip(layout.starts[1:-1], layout.starts[2:], strict=True):
                inside = slice(start - net.n_inputs, end - net.n_inputs)
                kinds = aggregation[inside].tolist(), activation[inside].tolist(), tau[inside]
                self.generations.append(Generation(*kinds, layout, start, columns))

        def _add(self, name: str, number: np.ndarray, value: np.ndarray, frozen: np.ndarray) -> np.ndarray:
            """Keep each parameter once; returns the place of each tenant's, trained ones first."""
            numbers, first, which = np.unique(number, return_index=True, return_inverse=True)
            order = np.argsort(frozen[first], kind="stable")
            n_trained = int((~frozen[first]).sum())
            values = torch.as_tensor(value[first][order])
            self.register_parameter(name, torch.nn.Parameter(values[:n_trained].clone()))
            self.register_buffer(f"frozen_{name}", values[n_trained:].clone())
            place = np.empty(len(order), np.int64)
            place[order] = np.arange(len(order))
            return place[which]

        def forward(self, x):
            """Outputs (batch, n_outputs), or (batch, time, n_outputs) of a network that remembers."""
            if x.ndim != 2 + self.remembers or x.shape[-1] != self.n_inputs:
                expected = f"(batch, {'time, ' if self.remembers else ''}{self.n_inputs})"
                raise ValueError(f"x has the shape {tuple(x.shape)}; it must be {expected}")
            x = x.to(self.weight)
            weight = torch.cat([self.weight, self.frozen_weight])
            bias = torch.cat([self.bias, self.frozen_bias])[self.bias_index, None]
            prepared = [generation.prepare(weight) for generation in self.generations]
            past = [x.new_zeros(self.n_neurons, len(x))] * self.max_delay
            potentials = [None] * len(self.generations)
            outputs = []
            for inputs in x.unbind(1) if self.remembers else [x]:
                values, start = [inputs.T], 0
                for number, generation in enumerate(self.generations):
                    end = start + generation.width
                    step = generation(prepared[number], bias[start:end], values, past, potentials[number])
                    values.append(step[0])
                    potentials[number] = step[1]
                    start = end
                past.append(torch.cat(values))
                outputs.append(past[-1][self.outputs].T)
                del past[0]
            return torch.stack(outputs, 1) if self.remembers else outputs[0]

        @property
        def n_neurons(self) -> int:
            """Number of neurons, inputs included."""
            return self.n_inputs + len(self.bias_index)

        def write_to(self, net: Network) -> None:
            """Write the parameters into the network that the module was made of.

            Raises
            ------
            InvalidValueError
                If the network has other parameters by now.
            """
            neurons = net.neurons - net.inputs
            for name, number, frozen in (
                ("weight", net.connections.parameter, net.connections.frozen),
                ("bias", neurons.bias_parameter, neurons.bias_frozen),
            ):
                numbers, which = np.unique(number[~frozen], return_inverse=True)
                values = getattr(self, name).detach().cpu().numpy()
                require(
                    len(values) == len(numbers),
                    f"the network trains {len(numbers)} parameters ({name}), the module {len(values)}; it was edited",
                )
                owner = net.connections if name == "weight" else neurons
                setattr(owner[~frozen], name, values[which])

    class Generation(torch.nn.Module):
        """Neurons that do not read each other in the same step: some blocks, and their activations in runs."""

        def __init__(self, aggregation: list, activation: list, tau: Any, layout: Layout, start: int, columns: Any):
            super().__init__()
            self.width = len(aggregation)
            self.blocks = torch.nn.ModuleList()
            for a, b in _runs(aggregation):
                first, last = np.searchsorted(columns[:, 1], [start + a, start + b])
                if first < last:
                    self.blocks.append(Block(aggregation[a], layout, start + a, start + b, columns[first:last]))
                else:
                    self.blocks.append(Nothing(b - a, 1.0 if aggregation[a] == "product" else 0.0))
            specs = [spec if isinstance(spec, tuple) else (spec, 0.0) for spec in activation]
            self.runs = [(a, b, specs[a][0]) for a, b in _runs([name for name, _ in specs])]
            parameter = np.array([parameter for _, parameter in specs], tau.dtype)
            self.register_buffer("parameter", torch.as_tensor(parameter[:, None]), persistent=False)
            rate = 1 / tau[:, None] if (tau != 1).any() else None
            self.register_buffer("rate", None if rate is None else torch.as_tensor(rate), persistent=False)

        def prepare(self, weight):
            """What one forward pass needs of the weights, whatever the number of steps."""
            return [block.prepare(weight) for block in self.blocks]

        def forward(self, weights, bias, values, past, potential):
            """Outputs of the neurons, shape (width, batch), and the potentials where they leak."""
            parts = [block(w, values, past) for block, w in zip(self.blocks, weights, strict=True)]
            z = (parts[0] if len(parts) == 1 else torch.cat(parts)) + bias
            if self.rate is not None:
                z = self.rate * z + (0 if potential is None else (1 - self.rate) * potential)
            outputs = [_activated(torch, name, z[a:b], self.parameter[a:b]) for a, b, name in self.runs]
            return outputs[0] if len(outputs) == 1 else torch.cat(outputs), None if self.rate is None else z

    class Nothing(torch.nn.Module):
        """Neurons without connections."""

        def __init__(self, width: int, value: float):
            super().__init__()
            self.width, self.value = width, value

        def prepare(self, weight):
            return None

        def forward(self, weight, values, past):
            return values[0].new_full((self.width, values[0].shape[1]), self.value)

    made = {"Block": Block, "Generation": Generation, "NetworkModule": NetworkModule, "Nothing": Nothing}
    for name, made_class in made.items():
        made_class.__qualname__ = name  # where pickle looks for it
    return made


def _activated(torch: Any, name: str, z: Any, parameter: Any) -> Any:
    """An activation by the definition of `functions.activations`, with its derivative at every kink."""
    F = torch.nn.functional
    match name:
        case "identity":
            return z
        case "relu" | "sigmoid" | "tanh" | "sin" | "abs" | "square":
            return getattr(torch, name)(z)
        case "selu" | "gelu" | "silu":
            return getattr(F, name)(z)
        case "leaky_relu":
            return torch.where(z > 0, z, parameter * z)
        case "lelu":
            return F.leaky_relu(z, LELU_SLOPE)
        case "clipped_relu":
            y = torch.relu(z)
            return torch.where(y < parameter, y, parameter)
        case "elu":
            return torch.where(z > 0, z, parameter * torch.expm1(z.clamp(max=0)))
        case "softplus":
            return torch.logaddexp(z, torch.zeros_like(z))
        case "gauss":
            return torch.exp(-z.clamp(-GAUSS_LIMIT, GAUSS_LIMIT).square())
        case "step":
            return (z > 0).to(z)
        case "clamped":
            return F.hardtanh(z)
        case "hat":
            return torch.relu(1 - z.abs())
        case "inv":
            return torch.where(z == 0, 0, 1 / torch.where(z == 0, 1, z))
        case "log":
            return torch.log(z.clamp(min=LOG_FLOOR))
        case "exp":
            return torch.exp(z.clamp(-EXP_LIMIT, EXP_LIMIT))
        case "cube":
            return z * z * z
    raise NotSupportedError(f"the activation {name!r} has no counterpart in PyTorch yet")


def _runs(values: list) -> list[tuple[int, int]]:
    """Start and end of each run of equal values."""
    cuts = [0, *(i for i in range(1, len(values)) if values[i] != values[i - 1]), len(values)]
    return list(zip(cuts[:-1], cuts[1:], strict=True))
