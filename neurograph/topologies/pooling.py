"""Pooling: neurons that take the largest or the mean of a window, with connections that do not train."""

from __future__ import annotations

import numpy as np

from ..checks import require
from ..errors import InvalidValueError
from ..network import Group, Network
from .fields import all_or_nothing, image_of
from .offsets import per_dimension

__all__ = ["adaptive_pool", "global_pool", "pool"]

KINDS = ("max", "mean")


def pool(
    net: Network,
    maps: Group,
    size: int | tuple[int, ...] = 2,
    kind: str = "max",
    stride: int | tuple[int, ...] | None = None,
    padding: int | tuple[int, ...] = 0,
    name: str | None = None,
) -> Group:
    """Add neurons that take the largest, or the mean, of windows of each map.

    As ``torch.nn.MaxPool2d``, or ``AvgPool2d(count_include_pad=False)``. Two axes are one image, unless ``size=(2,)``
    says that they are (channels, length). Windows that would leave the image at the far end are left out, as there.
    All connections of the call share one weight, 1, and all neurons one bias, 0, and both are frozen: no optimizer
    moves them.

    Parameters
    ----------
    net : Network
    maps : Group
        Of shape (channels, height, width), or (height, width); also (channels, length) or volumes.
    size : int or tuple of int
        Of a window, one number for each dimension or one for all.
    kind : {"max", "mean"}
        Neurons of that aggregation, with activation "identity".
    stride : int or tuple of int, optional
        Step from window to window, `size` by default.
    padding : int or tuple of int
        Windows begin that many pixels further out, at most half their size; what is outside does not count.
    name : str, optional
        Name of the group.

    Returns
    -------
    Group
        Of shape (channels, height', width').

    Raises
    ------
    InvalidValueError
        The maps have another shape, or are smaller than a window: they would pool to nothing. Nothing has changed then.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.Network()
    >>> img = net.add_inputs((3, 28, 28))
    >>> ng.topologies.pool(net, img, size=2, kind="max").shape
    (3, 14, 14)
    """
    channels, extent = _stack(maps, size)
    sizes = per_dimension(size, len(extent), "size", 1)
    strides = sizes if stride is None else per_dimension(stride, len(extent), "stride", 1)
    paddings = per_dimension(padding, len(extent), "padding", 0)
    require((paddings * 2 <= sizes).all(), f"padding {padding} is more than half of the window's size {size}")
    windows = []
    for length, window, step, pad in zip(extent, sizes.tolist(), strides.tolist(), paddings.tolist(), strict=True):
        first = np.arange(-pad, length + pad - window + 1, step)
        if not len(first):
            raise InvalidValueError(
                f"maps of {extent} pool to nothing with windows of {tuple(sizes.tolist())}"
                f"{f' and padding {padding}' if pad else ''}; pool less often, or start from larger images"
            )
        windows.append((np.maximum(first, 0), np.minimum(first + window, length)))
    return _pool(net, maps, channels, extent, windows, kind, name, squeeze=False)


def adaptive_pool(
    net: Network, maps: Group, size: int | tuple[int, ...], kind: str = "mean", name: str | None = None
) -> Group:
    """Add neurons that pool each map to a given size, in windows as equal as can be.

    As ``torch.nn.AdaptiveAvgPool2d`` and ``AdaptiveMaxPool2d``: output i reads positions floor(i n / size) to
    ceil((i + 1) n / size).

    Parameters
    ----------
    net, maps, kind, name
        As in `pool`.
    size : int or tuple of int
        Height and width of the result.

    Returns
    -------
    Group
        Of shape (channels, \\*size).

    Raises
    ------
    InvalidValueError
        As in `pool`.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.Network()
    >>> img = net.add_inputs((3, 10, 7))
    >>> ng.topologies.adaptive_pool(net, img, size=4).shape
    (3, 4, 4)
    """
    channels, extent = _stack(maps, size)
    sizes = per_dimension(size, len(extent), "size", 1).tolist()
    windows = [_equal_windows(length, count) for length, count in zip(extent, sizes, strict=True)]
    return _pool(net, maps, channels, extent, windows, kind, name, squeeze=False)


def global_pool(net: Network, maps: Group, kind: str = "mean", name: str | None = None) -> Group:
    """Add one neuron a map that takes the largest, or the mean, of all of it.

    What follows no longer depends on the size of the image.

    Parameters
    ----------
    net, kind, name
        As in `pool`.
    maps : Group
        Of shape (channels, height, width), or with more or fewer axes behind the channels.

    Returns
    -------
    Group
        Of shape (channels,).

    Raises
    ------
    InvalidValueError
        As in `pool`.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.Network()
    >>> ng.topologies.global_pool(net, net.add_inputs((8, 5, 6))).shape
    (8,)
    """
    channels, extent = _stack(maps, (1,) * (len(maps.shape) - 1) if isinstance(maps, Group) else 1)
    windows = [_equal_windows(length, 1) for length in extent]
    return _pool(net, maps, channels, extent, windows, kind, name, squeeze=True)


# -- inside ------------------------------------------------------------------------------------------------------------


def _stack(maps: Group, size: int | tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Channels and extent; the size tells how many dimensions, else two axes are an image and more have channels."""
    require(isinstance(maps, Group), f"maps must be a Group, such as `fields` returns, not {maps!r}")
    n_axes = len(maps.shape)
    require(
        n_axes > 1,
        f"maps has shape {maps.shape}; pooling needs (height, width) or (channels, height, width) (a group that lost a "
        "member has no shape any more)",
    )
    n_dims = len(size) if isinstance(size, tuple | list) else max(2, n_axes - 1)
    return image_of(maps, n_dims)


def _equal_windows(length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    index = np.arange(count)
    return index * length // count, -(-(index + 1) * length // count)


def _pool(
    net: Network,
    maps: Group,
    channels: int,
    extent: tuple[int, ...],
    windows: list[tuple[np.ndarray, np.ndarray]],
    kind: str,
    name: str | None,
    squeeze: bool,
) -> Group:
    require(kind in KINDS, f'kind must be "max" or "mean", not {kind!r}')
    shape = tuple(len(first) for first, _ in windows)
    # Windows are rectangles: along each dimension the pairs (window, position), then all combinations of them.
    target, position = np.zeros(1, np.int64), np.zeros(1, np.int64)
    for (first, stop), count, length in zip(windows, shape, extent, strict=True):
        width = stop - first
        index = np.arange(count).repeat(width)
        along = np.arange(len(index)) - (np.cumsum(width) - width - first).repeat(width)
        target = (target[:, None] * count + index).ravel()
        position = (position[:, None] * length + along).ravel()
    channel = np.arange(channels)[:, None]
    sources = (channel * int(np.prod(extent)) + position).ravel()
    targets = (channel * int(np.prod(shape)) + target).ravel()
    with all_or_nothing(net, name) as made:
        made.group = net.add_neurons((channels,) if squeeze else (channels, *shape), "identity", kind)
        same = np.zeros(len(sources), np.int64)
        net.add_connections(maps.ids[sources], made.group.ids[targets], 1.0, parameter=same).frozen = True
        net.tie(made.group, np.zeros(len(made.group), np.int64))
        made.group.bias_frozen = True
    return made.group
