"""RadiX-Nets: deterministic sparse layers from mixed-radix numeral systems."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .. import checks
from ..checks import require
from ..network import Network
from .assemble import Edges

__all__ = ["radix_net"]


def radix_net(
    radices: Sequence[Any],
    widths: int | Sequence[int] = 1,
    shuffle: bool = False,
    activation: Any = "relu",
    output_activation: Any = "identity",
    weight: Any = "he",
    seed: int = 0,
    dtype: Any = "float32",
    backend: str = "auto",
) -> Network:
    """Make a RadiX-Net: sparse layers in which every output hears every input, along equally many paths.

    Robinett and Kepner 2019 ("RadiX-Net: structured sparse matrices for deep neural networks"), the generator of the
    Sparse DNN Graph Challenge. A numeral system with the radices r_1 .. r_m describes the N = r_1 * ... * r_m numbers
    below N; its i-th layer connects number t to the r_i numbers ``t + j * v_i`` modulo N, j = 0 .. r_i - 1, where v_i
    is the place value ``r_1 * ... * r_(i-1)``. The layers of several systems follow one another. Then every number
    becomes as many neurons as ``widths`` says, connected all to all where their numbers are: the Kronecker product of
    a matrix of ones with the layer. Neuron ``d * N + t`` of a layer is the d-th neuron of number t.

    ``radix_net([[2] * 6] * 20, 16, shuffle=True)`` has the structure of the challenge's network of 1024 neurons and
    120 layers.

    Parameters
    ----------
    radices : sequence of int, or sequence of sequences of int
        The numeral systems, or the radices of a single one; each radix is 2 or more. All systems have the same
        product N; the last one may have a divisor of it.
    widths : int, or sequence of int
        Neurons for each number: one value for all layers, or one for each, the inputs included.
    shuffle : bool
        Number the sources and the targets of each system after the first anew, at random, the same in all its layers,
        as the Graph Challenge does. Where systems meet the numberings differ, so the paths between two neurons are no
        longer equally many.
    activation, output_activation, weight, seed, dtype, backend : optional
        As in `random_dag`; the seed also draws the shuffles.

    Returns
    -------
    Network
        The network, with biases 0; the groups are named "inputs", "hidden 1", "hidden 2", ..., "outputs".

    Raises
    ------
    InvalidValueError
        A radix or width is out of range, their numbers do not fit, or the products of the systems differ.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.radix_net([[2, 3], [6]], widths=[1, 2, 2, 1])
    >>> [len(generation) for generation in net.schedule.generations], net.n_connections
    ([6, 12, 12, 6], 168)
    >>> sorted(neuron.id for neuron in net.groups["hidden 1"][5].predecessors)     # 5 and 5 + 1 modulo 6
    [0, 5]
    """
    systems = _checked_systems(radices)
    n_numbers, flat = math.prod(systems[0]), [radix for system in systems for radix in system]
    given = checks.integers(widths, "widths")
    require(
        len(given) in (1, len(flat) + 1),
        f"widths has {len(given)} entries for {len(flat)} radices; give one more than radices, the inputs first.",
    )
    require((given > 0).all(), f"widths is {widths}; give every layer one neuron or more for each number.")
    width = np.broadcast_to(given, len(flat) + 1).tolist()
    net = Network(seed=seed, dtype=dtype, backend=backend)
    layers = [net.add_inputs(n_numbers * width[0], name="inputs")]
    layers += [
        net.add_neurons(n_numbers * count, activation=activation, name=f"hidden {number}")
        for number, count in enumerate(width[1:-1], start=1)
    ]
    layers.append(net.add_outputs(n_numbers * width[-1], activation=output_activation, name="outputs"))
    ends = zip(pairwise(layers), pairwise(width), strict=True)
    sources, targets = [], []
    for number, system in enumerate(systems):
        names: dict[tuple[int, int], np.ndarray] = {}
        for i, radix in enumerate(system):
            (before, after), (d_source, d_target) = next(ends)
            source, target = widened(
                *radix_layer(n_numbers, radix, math.prod(system[:i])), n_numbers, d_source, d_target
            )
            if shuffle and number:
                for side, count in enumerate((len(before), len(after))):
                    if (side, count) not in names:
                        names[side, count] = net.rng.permutation(count)
                source, target = names[0, len(before)][source], names[1, len(after)][target]
            sources.append(before.ids[source])
            targets.append(after.ids[target])
    net.add_connections(np.concatenate(sources), np.concatenate(targets), weight=weight)
    return net


def radix_layer(n: int, radix: int, place: int) -> Edges:
    """Connections between two layers of ``n`` numbers: target t hears ``t + j * place`` modulo n for every digit j.

    Examples
    --------
    >>> source, target = radix_layer(4, 2, 1)
    >>> list(zip(source.tolist(), target.tolist()))
    [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (0, 3)]
    """
    target = np.repeat(np.arange(n), radix)
    return (target + np.tile(np.arange(radix) * place, n)) % n, target


def widened(source: np.ndarray, target: np.ndarray, n: int, d_source: int, d_target: int) -> Edges:
    """Put ``d_source`` and ``d_target`` neurons in the place of every number, all connected where the numbers are."""
    more_source = n * np.arange(d_source)[None, :, None] + source
    more_target = n * np.arange(d_target)[:, None, None] + target
    shape = d_target, d_source, len(source)
    return np.broadcast_to(more_source, shape).ravel(), np.broadcast_to(more_target, shape).ravel()


def _checked_systems(radices: Any) -> list[list[int]]:
    """The numeral systems as lists, or an error."""
    cure = "give the radices of one numeral system, such as [2, 2, 3], or a list of systems."
    require(isinstance(radices, list | tuple | np.ndarray) and len(radices) > 0, f"radices is {radices!r}; {cure}")
    nested = [isinstance(system, list | tuple | np.ndarray) for system in radices]
    require(all(nested) or not any(nested), f"radices mixes numbers and lists: {radices!r}; {cure}")
    systems = [list(system) for system in radices] if all(nested) else [list(radices)]
    for system in systems:
        require(system, f"radices holds a system without a radix; {cure}")
        for radix in system:
            checks.whole("a radix", radix, 2)
    products = [math.prod(int(radix) for radix in system) for system in systems]
    for number, product in enumerate(products[:-1]):
        require(
            product == products[0],
            f"system {number} has the product {product} and the first one {products[0]}; give all but the last the "
            "same product.",
        )
    require(
        products[0] % products[-1] == 0,
        f"the last system has the product {products[-1]}, which does not divide {products[0]}; give it a divisor.",
    )
    return [[int(radix) for radix in system] for system in systems]
