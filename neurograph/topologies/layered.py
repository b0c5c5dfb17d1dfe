"""Layered networks: every layer feeds the next one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InvalidValueError
from ..network import Network

__all__ = ["layered"]


def layered(
    sizes: Sequence[int],
    density: float = 1.0,
    activation: Any = "relu",
    output_activation: Any = "identity",
    weight: Any = "he",
    seed: int = 0,
    dtype: Any = "float32",
    backend: str = "auto",
) -> Network:
    """Make a multilayer perceptron, dense or sparse.

    Parameters
    ----------
    sizes : sequence of int
        Number of neurons of each layer, inputs first and outputs last; at least two layers. The groups are named
        "inputs", "hidden 1", "hidden 2", ..., "outputs".
    density : float
        Share of the pairs of neighbouring layers that are connected, exactly `round(density * pairs)` for each.
    activation, output_activation : str or pair
        Activation of the hidden layers and of the outputs.
    weight : str, number, array or function
        Initializer of each layer's connections; "he" uses the fan-in that each neuron really has.
    seed : int
        Seed of the network.
    dtype : {"float32", "float64"}
        Type of all numbers.
    backend : str
        "auto", "cpu", "gpu" or "reference".

    Returns
    -------
    Network
        The network, with biases 0.

    Raises
    ------
    InvalidValueError
        There are fewer than two sizes, a size below 1, or a density outside 0 to 1.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([784, 300, 10], density=0.1, seed=0)
    >>> net.n_connections, net.schedule.depth
    (23820, 3)
    """
    sizes = list(sizes)
    if len(sizes) < 2 or not all(isinstance(size, int | np.integer) and size > 0 for size in sizes):
        raise InvalidValueError(f"sizes is {sizes}; give two or more whole numbers above 0, inputs first.")
    net = Network(seed=seed, dtype=dtype, backend=backend)
    layers = [net.add_inputs(sizes[0], name="inputs")]
    layers += [
        net.add_neurons(size, activation=activation, name=f"hidden {number}")
        for number, size in enumerate(sizes[1:-1], start=1)
    ]
    layers.append(net.add_outputs(sizes[-1], activation=output_activation, name="outputs"))
    for sources, targets in zip(layers, layers[1:], strict=False):
        net.connect(sources, targets, density=density, weight=weight)
    return net
