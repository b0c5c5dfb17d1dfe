"""Fully convolutional networks: fields, pooling and a global mean, for images of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import checks
from ..checks import require
from ..errors import InvalidValueError
from ..network import Group, Network
from .fields import fields, places_along
from .mixed_sizes import SizedNetworks
from .offsets import box, offset_array, per_dimension
from .pooling import global_pool, pool

__all__ = ["fully_convolutional"]

LARGEST = 2**12  # pixels: a reference image wider than that is a mistake


def fully_convolutional(
    channels: Sequence[int],
    n_outputs: int,
    offsets: Any = None,
    in_channels: int = 1,
    pooling: int | Sequence[int | None] | None = 2,
    pooling_kind: str = "max",
    global_pooling: str = "mean",
    padding: int | str = "same",
    stride: int | Sequence[int] = 1,
    activation: Any = "relu",
    output_activation: Any = "identity",
    weight: Any = "he",
    seed: int = 0,
    dtype: Any = "float32",
    backend: str = "auto",
    cache_bytes: int = 2**30,
) -> SizedNetworks:
    """Make networks that read images of every size with the same parameters: layers of fields, pooled at the end.

    After the last layer every map becomes one number, its mean or largest value, and these feed the outputs, so nothing
    depends on the size of the image (Long, Shelhamer & Darrell 2015, "Fully convolutional networks for semantic
    segmentation"; Lin, Chen & Yan 2014, "Network in network", for the global mean).

    Parameters
    ----------
    channels : sequence of int
        Maps of each layer.
    n_outputs : int
    offsets : array, list of arrays, or list of them for each layer
        What a neuron reads, as in `fields`, for all layers or for each; ``box(3, 3)`` by default. Fields must be the
        same at every place, for an image of another size has other places.
    in_channels : int
        Channels of the images.
    pooling : int, sequence of int or None, or None
        Size of the windows after each layer, None for no pooling; one number stands for all layers but the last.
    pooling_kind, global_pooling : {"max", "mean"}
    padding : int or "same"
        Of every layer, as in `fields`.
    stride : int or sequence of int
        Of every layer, or for each.
    activation, output_activation, weight : optional
        Of the maps, the outputs, and all connections.
    seed, dtype, backend, cache_bytes
        As of `SizedNetworks`.

    Returns
    -------
    SizedNetworks
        Its reference is the smallest image into which the fields of all layers fit whole. The groups of each network
        are named "image", "maps 1", "pooled 1", "maps 2", ..., "features" and "outputs".

    Raises
    ------
    InvalidValueError
        An argument that does not fit the number of layers, or cannot be used.

    Examples
    --------
    >>> import numpy as np, neurograph as ng
    >>> family = ng.topologies.fully_convolutional(channels=[8, 16], n_outputs=10, offsets=ng.topologies.disk(1))
    >>> family.predict([np.zeros((8, 8)), np.zeros((40, 31))]).shape, family.n_parameters
    ((2, 10), 874)
    """
    require(isinstance(channels, Sequence | np.ndarray) and len(channels), "channels needs a number for each layer")
    for count in channels:
        checks.whole("channels", count, 1)
    checks.whole("n_outputs", n_outputs, 1)
    checks.whole("in_channels", in_channels, 1)
    n_layers = len(channels)
    shapes = _shapes(box(3, 3) if offsets is None else offsets, n_layers)
    strides = _each_layer(stride, n_layers, "stride")
    for step in strides:
        checks.whole("stride", step, 1)
    pools = [pooling] * (n_layers - 1) + [None] if not isinstance(pooling, Sequence) else list(pooling)
    require(len(pools) == n_layers, f"pooling has {len(pools)} entries for {n_layers} layers")
    for size in pools:
        if size is not None:
            checks.whole("pooling", size, 1)
    require(padding == "same" or not isinstance(padding, str), f'padding must be a number or "same", not {padding!r}')
    border = padding if isinstance(padding, str) else int(per_dimension(padding, 2, "padding", 0)[0])

    def rule(net: Network, image: Group) -> None:
        maps = image
        layers = zip(channels, shapes, strides, pools, strict=True)
        for number, (count, shape, step, size) in enumerate(layers, start=1):
            options = {"stride": step, "padding": border, "activation": activation, "weight": weight}
            maps = fields(net, maps, int(count), shape, **options, name=f"maps {number}")
            if size is not None:
                maps = pool(net, maps, int(size), pooling_kind, name=f"pooled {number}")
        features = global_pool(net, maps, global_pooling, name="features")
        outputs = net.add_outputs(int(n_outputs), activation=output_activation, name="outputs")
        net.connect(features, outputs, weight=weight)

    reaches = [_reach(shape) for shape in shapes]
    height, width = (
        _smallest([(low[axis], high[axis]) for low, high in reaches], strides, pools, border) for axis in (0, 1)
    )
    return SizedNetworks(rule, (in_channels, height, width), seed, dtype, backend, cache_bytes)


def _smallest(reaches: list, strides: list[int], pools: list[int | None], padding: int | str) -> int:
    """Pixels along one axis of the smallest image into which the field of every layer fits whole."""
    for length in range(1, LARGEST):
        left = length
        for (low, high), stride, size in zip(reaches, strides, pools, strict=True):
            if left < high - low + 1:
                break
            left = len(places_along(left, int(low), int(high), stride, padding)) // (size or 1)
        else:
            if left:
                return length
    raise InvalidValueError(f"no image below {LARGEST} pixels has room for these fields and poolings; use smaller ones")


def _shapes(offsets: Any, n_layers: int) -> list:
    """What `fields` takes for each layer, none of it a function."""
    everywhere = isinstance(offsets, np.ndarray) or not isinstance(offsets, list | tuple) or _depth(offsets) < 3
    shapes = [offsets] * n_layers if everywhere else list(offsets)
    require(len(shapes) == n_layers, f"offsets has entries for {len(shapes)} layers, but channels has {n_layers}")
    for shape in shapes:
        for field in shape if _depth(shape) == 3 else [shape]:
            require(
                not callable(field),
                "offsets must be the same at every place: a function of the place has no meaning for all sizes",
            )
            require(
                offset_array(field).shape[1] == 2, "offsets must have two columns (dy, dx): these networks read images"
            )
    return shapes


def _depth(offsets: Any) -> int:
    """Nesting: 2 for (k, 2) offsets, 3 for a list of them, 4 for a list of such lists; functions count as offsets."""
    if callable(offsets):
        return 2
    if isinstance(offsets, list | tuple) and len(offsets):
        return 1 + _depth(offsets[0])
    return np.ndim(offsets)


def _reach(shape: Any) -> tuple[np.ndarray, np.ndarray]:
    every = np.concatenate([offset_array(field) for field in (shape if _depth(shape) == 3 else [shape])])
    return every.min(axis=0), every.max(axis=0)


def _each_layer(value: Any, n_layers: int, what: str) -> list:
    values = list(value) if isinstance(value, list | tuple | np.ndarray) else [value] * n_layers
    require(len(values) == n_layers, f"{what} has {len(values)} entries for {n_layers} layers")
    return values
