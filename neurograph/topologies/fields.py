"""Receptive fields: neurons that read a neighbourhood, whatever its shape, with shared weights or their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from .. import checks
from ..checks import require
from ..errors import InvalidValueError
from ..network import Group, Network
from .offsets import as_rows, offset_array, per_dimension

__all__ = ["fields"]


def fields(
    net: Network,
    source: Group,
    channels: int,
    offsets: Any,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
    share: bool = True,
    activation: Any = "relu",
    aggregation: Any = "sum",
    bias: Any = 0.0,
    weight: Any = "he",
    outside: str = "error",
    name: str | None = None,
) -> Group:
    """Add maps of neurons, each of which reads the positions of ``source`` around its place.

    With a rectangle of offsets and shared weights this is ``torch.nn.Conv2d`` (or Conv1d, Conv3d); but offsets may be
    any set of positions, differ from channel to channel, and change with the place. Every connection is one like any
    other: it can be pruned, and one can be added with ``add_connections(..., parameter=a connection of the kernel)``.

    A place is a position (y, x) of the source, and an offset is relative to it. Without padding the first place is the
    one where the whole field first fits; where fields differ, the one where all of them together fit.

    Parameters
    ----------
    net : Network
    source : Group
        Of shape (height, width) or (channels, height, width). One-dimensional offsets want (length,) or (channels,
        length), three-dimensional ones a volume, in the same way.
    channels : int
        Maps to make.
    offsets : array of int, callable, or list of them
        (k, 2) array of (dy, dx), in any order: `box`, `disk`, `ring` and others make them. Or a function
        ``(y, x) -> such an array``, called for every place, as `fovea` makes it. Or a list with one of these for each
        channel.
    stride : int or tuple of int
        Step from place to place.
    padding : int, tuple of int, or "same"
        Places begin that many pixels further out; connections that would leave the image do not exist. With "same"
        every position of the source, or with a stride every stride-th, is a place, so height and width are kept.
    dilation : int or tuple of int
        Factor on all offsets.
    groups : int
        Source channels and maps fall into that many parts, and each map reads its own part only.
    share : bool
        One parameter for each (map, source channel, dy, dx), numbered consecutively in that order, and one bias
        parameter a map. Otherwise every connection and every bias has its own.
    activation, aggregation : optional
        As in `Network.add_neurons`.
    bias : number, array of shape (channels,), or None
        First value. None: there is none, it is 0 and frozen.
    weight : str, number, array or callable
        As in `Network.connect`; with shared weights one value is drawn for each parameter. An array has one value for
        each parameter, in the order above, such as ``conv.weight`` of PyTorch.
    outside : {"error", "drop"}
        What to do with an offset that lies outside the image at every place: refuse it, or go without its parameters.
    name : str, optional
        Name of the group.

    Returns
    -------
    Group
        Of shape (channels, height, width) of the places.

    Raises
    ------
    InvalidValueError
        The source has no such shape, no place fits, an offset is none, doubled or always outside, or channels do not
        divide into groups. Nothing has changed then.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.Network(seed=0)
    >>> img = net.add_inputs((1, 28, 28))
    >>> maps = ng.topologies.fields(net, img, channels=8, offsets=ng.topologies.disk(2))
    >>> maps.shape, net.n_connections, net.n_parameters          # a disk of 13 pixels and a bias for each channel
    ((8, 24, 24), 59904, 112)
    """
    checks.whole("channels", channels, 1)
    checks.whole("groups", groups, 1)
    require(outside in ("error", "drop"), f'outside must be "error" or "drop", not {outside!r}')
    given = _each_channel(offsets, channels)
    n_sources, extent = image_of(source, _dimensions(given, source))
    require(
        n_sources % groups == 0 and channels % groups == 0,
        f"{n_sources} source channels and {channels} channels do not divide into {groups} groups",
    )
    grid = _Grid(extent, stride, padding, dilation)
    shapes = {id(spec): spec for spec in given}
    shapes = {key: grid.read(spec) for key, spec in shapes.items()}
    places = grid.places(list(shapes.values()))
    reads = {key: _inside(shape, places, extent, outside) for key, shape in shapes.items()}

    n_places, area = len(places.rows), int(np.prod(extent))
    per_group, maps_per_group = n_sources // groups, channels // groups
    n_labels, parts = 0, []
    for key, run in groupby(range(channels), key=lambda channel: id(given[channel])):
        maps, read = np.array(list(run))[:, None, None], reads[key]
        of_group = np.arange(per_group)[:, None]
        kernel = n_labels + ((maps - maps[0]) * per_group + of_group) * read.n_kinds
        part = (
            (maps // maps_per_group * per_group + of_group) * area + read.position,
            maps * n_places + read.place,
            kernel + read.kind,
        )
        parts.append([column.ravel() for column in np.broadcast_arrays(*part)])
        n_labels += len(maps) * per_group * read.n_kinds
    sources, targets, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    require(len(sources), "no field reads any position of the image; check what the function returns")
    if isinstance(weight, np.ndarray | list | tuple):
        weight = np.ravel(weight)
        weight = weight[labels] if len(weight) == n_labels else weight
    first_bias = 0.0 if bias is None else _bias_of_maps(bias, channels, n_places)
    with all_or_nothing(net, name) as made:
        made.group = net.add_neurons((channels, *places.shape), activation, aggregation, first_bias)
        net.add_connections(source.ids[sources], made.group.ids[targets], weight, parameter=labels if share else None)
        if bias is None:
            net.tie(made.group, np.zeros(len(made.group), np.int64))
            made.group.bias_frozen = True
        elif share:
            net.tie(made.group, np.arange(channels).repeat(n_places))
    return made.group


def image_of(group: Group, n_dims: int) -> tuple[int, tuple[int, ...]]:
    """Number of channels and extent of a group that is an image, or a stack of them.

    Raises
    ------
    InvalidValueError
        The group has another shape.
    """
    require(isinstance(group, Group), f"the source must be a Group, such as add_inputs returns, not {group!r}")
    shape = group.shape
    axes = {1: "length", 2: "height, width", 3: "depth, height, width"}.get(n_dims, f"{n_dims} sizes")
    require(
        len(shape) in (n_dims, n_dims + 1) and all(shape),
        f"the source has shape {shape}, but fields of {n_dims} dimensions need ({axes}) or (channels, {axes}); give "
        "the shape to add_inputs or add_neurons (a group that lost a member has none any more)",
    )
    return (1, shape) if len(shape) == n_dims else (shape[0], shape[1:])


@dataclass
class _Made:
    """What an unfinished edit has added so far."""

    group: Any = None


@contextmanager
def all_or_nothing(net: Network, name: str | None) -> Iterator[_Made]:
    """Name the group that is made inside; if anything fails, take its neurons out again."""
    require(name is None or isinstance(name, str), f"a group's name must be a string, not {name!r}")
    require(name not in net.groups, f"there is a group named {name!r} already; choose another name")
    made = _Made()
    try:
        yield made
    except BaseException:
        if made.group is not None:
            net.remove_neurons(made.group)
        raise
    made.group.name = name
    net.keep_group(made.group)


def places_along(extent: int, low: int, high: int, stride: int, padding: int | str) -> np.ndarray:
    """Places along one dimension of fields that reach from ``low`` to ``high``; none if they fit nowhere.

    Examples
    --------
    >>> places_along(7, -1, 1, 2, 0).tolist(), places_along(7, -1, 1, 2, "same").tolist()
    ([1, 3, 5], [0, 2, 4, 6])
    """
    if isinstance(padding, str):
        return np.arange(0, extent, stride)
    return np.arange(-padding - low, extent + padding - high, stride)


# -- inside ------------------------------------------------------------------------------------------------------------


@dataclass
class _Places:
    """The grid of places: coordinates of each, and how many there are along each dimension."""

    rows: np.ndarray
    shape: tuple[int, ...]


@dataclass
class _Reads:
    """What one field reads from each place: number of the place, position in the source, and which kind of offset."""

    place: np.ndarray
    position: np.ndarray
    kind: np.ndarray
    n_kinds: int


class _Fixed:
    """A field that is the same everywhere."""

    def __init__(self, offsets: np.ndarray):
        self.offsets = offsets

    @property
    def reach(self) -> tuple[np.ndarray, np.ndarray]:
        return self.offsets.min(axis=0), self.offsets.max(axis=0)

    def at(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        count = len(self.offsets)
        return np.arange(len(rows)).repeat(count), np.tile(np.arange(count), len(rows)), self.offsets


class _Varying:
    """A field that is a function of the place."""

    def __init__(self, function: Callable[..., Any], positions: np.ndarray, dilation: np.ndarray):
        self.function, self.dilation = function, dilation
        self.known: dict[tuple[int, ...], np.ndarray] = {}
        for position in map(tuple, positions.tolist()):
            self._look(position)

    def _look(self, position: tuple[int, ...]) -> np.ndarray:
        if position not in self.known:
            what = f"the offsets at {position}"
            array = np.asarray(self.function(*position))
            if array.ndim != 2 or array.shape[1] != len(position) or array.dtype.kind not in "iu":
                array = as_rows(array, what) if array.size else np.zeros((0, len(position)), np.int64)
                require(
                    array.shape[1] == len(position), f"{what} must have {len(position)} columns, not {array.shape[1]}"
                )
            self.known[position] = array
        return self.known[position]

    @property
    def reach(self) -> tuple[np.ndarray, np.ndarray]:
        every = np.concatenate(list(self.known.values())) * self.dilation
        if not len(every):
            return np.zeros(every.shape[1], np.int64), np.zeros(every.shape[1], np.int64)
        return every.min(axis=0), every.max(axis=0)

    def at(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        each = [self._look(position) for position in map(tuple, rows.tolist())]
        place = np.arange(len(each)).repeat([len(array) for array in each])
        offsets = np.concatenate(each).astype(np.int64) * self.dilation
        kinds, kind = np.unique(offsets, axis=0, return_inverse=True)
        order = np.lexsort((kind, place))
        place, kind = place[order], kind[order]
        twice = np.flatnonzero((place[1:] == place[:-1]) & (kind[1:] == kind[:-1]))
        if len(twice):
            where = tuple(rows[place[twice[0]]].tolist())
            doubled = tuple(kinds[kind[twice[0]]].tolist())
            raise InvalidValueError(f"the offsets at {where} hold {doubled} more than once; leave out the duplicates")
        return place, kind, kinds


class _Grid:
    """Where the fields stand in an image."""

    def __init__(self, extent: tuple[int, ...], stride: Any, padding: Any, dilation: Any):
        n_dims = len(extent)
        self.extent = extent
        self.stride = per_dimension(stride, n_dims, "stride", 1)
        self.dilation = per_dimension(dilation, n_dims, "dilation", 1)
        if isinstance(padding, str):
            require(padding == "same", f'padding must be a number of pixels or "same", not {padding!r}')
            self.padding: list[Any] = ["same"] * n_dims
        else:
            self.padding = per_dimension(padding, n_dims, "padding", 0).tolist()

    def read(self, spec: Any) -> _Fixed | _Varying:
        """The field that was given."""
        if not callable(spec):
            return _Fixed(offset_array(spec) * self.dilation)
        # With numbers for the padding, the reach of all fields decides where the places are.
        steps = self.stride if "same" in self.padding else np.ones_like(self.stride)
        axes = [np.arange(0, size, step) for size, step in zip(self.extent, steps, strict=True)]
        return _Varying(spec, _product(axes), self.dilation)

    def places(self, shapes: list[_Fixed | _Varying]) -> _Places:
        """Every place where the widest of the fields fits."""
        reaches = [shape.reach for shape in shapes]
        low = np.min([low for low, _ in reaches], axis=0)
        high = np.max([high for _, high in reaches], axis=0)
        columns = zip(self.extent, low.tolist(), high.tolist(), self.stride.tolist(), self.padding, strict=True)
        axes = [places_along(*column) for column in columns]
        require(
            all(map(len, axes)),
            f"a field that reaches over {tuple((high - low + 1).tolist())} pixels fits nowhere in an image of "
            f"{self.extent} with padding {tuple(self.padding)}; choose smaller offsets, or more padding",
        )
        return _Places(_product(axes), tuple(map(len, axes)))


def _inside(field: _Fixed | _Varying, places: _Places, extent: tuple[int, ...], outside: str) -> _Reads:
    """What a field reads, without what lies outside of the image."""
    place, kind, offsets = field.at(places.rows)
    position = places.rows[place] + offsets[kind]
    inside = ((position >= 0) & (position < extent)).all(axis=1)
    place, kind, position = place[inside], kind[inside], position[inside]
    used = np.bincount(kind, minlength=len(offsets)) > 0
    if isinstance(field, _Varying):
        kind, offsets = (np.cumsum(used) - 1)[kind], offsets[used]
    elif outside == "error" and not used.all():
        raise InvalidValueError(
            f"the offset {tuple(offsets[~used][0].tolist())} lies outside the image of {extent} at every place; leave "
            'it out, or go without its parameters by outside="drop"'
        )
    return _Reads(place, np.ravel_multi_index(tuple(position.T), extent), kind, len(offsets))


def _product(axes: list[np.ndarray]) -> np.ndarray:
    """All combinations, in C order, shape (n, number of axes)."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


def _each_channel(offsets: Any, channels: int) -> list:
    """What was given for each channel."""
    if callable(offsets):
        return [offsets] * channels
    if isinstance(offsets, list | tuple) and any(map(_is_field, offsets)):
        require(
            len(offsets) == channels,
            f"offsets is a list of {len(offsets)} fields for {channels} channels; give one for each, or one for all",
        )
        return list(offsets)
    if isinstance(offsets, np.ndarray) and offsets.ndim == 3:
        require(len(offsets) == channels, f"offsets has {len(offsets)} fields for {channels} channels")
        return list(offsets)
    return [offset_array(offsets)] * channels


def _is_field(one: Any) -> bool:
    return callable(one) or (isinstance(one, np.ndarray | list | tuple) and len(one) > 0 and np.ndim(one[0]) == 1)


def _dimensions(given: list, source: Any) -> int:
    """Dimensions of the offsets; for functions, those of the source."""
    widths = {offset_array(spec).shape[1] for spec in {id(s): s for s in given}.values() if not callable(spec)}
    require(len(widths) < 2, f"the fields differ in their number of dimensions: {sorted(widths)}")
    if widths:
        return widths.pop()
    n_axes = len(source.shape) if isinstance(source, Group) else 2
    return n_axes if n_axes < 3 else n_axes - 1


def _bias_of_maps(bias: Any, channels: int, n_places: int) -> Any:
    if np.ndim(bias) == 0:
        return bias
    require(np.shape(bias) == (channels,), f"bias has shape {np.shape(bias)}; give a number, or one for each channel")
    return np.repeat(np.asarray(bias), n_places)
