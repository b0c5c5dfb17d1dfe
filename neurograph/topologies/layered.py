"""Layered networks: every layer feeds the next one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import checks
from ..errors import InvalidValueError
from ..network import Network

__all__ = ["layered"]


def layered(
    sizes: Sequence[int],
    density: float | Sequence[float] | np.ndarray = 1.0,
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
    density : float or sequence of float
        Share of the pairs of neighbouring layers that are connected, exactly `round(density * pairs)` for each; one for
        all, or one for each layer but the first, such as `sparsity.erdos_renyi` makes them.
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
        There are fewer than two sizes, a size below 1, a density outside 0 to 1, or another number of densities
        than of pairs of layers.

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
    shares = list(density) if isinstance(density, Sequence | np.ndarray) else [density] * (len(sizes) - 1)
    if len(shares) != len(sizes) - 1:
        raise InvalidValueError(
            f"density has {len(shares)} entries for {len(sizes)} layers; give one number, or {len(sizes) - 1}."
        )
    for share in shares:
        checks.fraction("density", share)
    net = Network(seed=seed, dtype=dtype, backend=backend)
    layers = [net.add_inputs(sizes[0], name="inputs")]
    layers += [
        net.add_neurons(size, activation=activation, name=f"hidden {number}")
        for number, size in enumerate(sizes[1:-1], start=1)
    ]
    layers.append(net.add_outputs(sizes[-1], activation=output_activation, name="outputs"))
    for sources, targets, share in zip(layers, layers[1:], shares, strict=False):
        net.connect(sources, targets, density=share, weight=weight)
    return net
