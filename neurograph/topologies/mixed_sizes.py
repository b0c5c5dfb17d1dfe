"""One set of parameters for images of every size: each size has a network, built from one rule when it is needed."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np

from .. import checks
from ..checks import require
from ..errors import InvalidValueError
from ..functions import losses
from ..network import Network, load

__all__ = ["SizedNetworks"]

Rule = Callable[..., Any]


class SizedNetworks:
    """Networks of the same parameters for images of different sizes, which run and train as one.

    A mini-batch may mix sizes: nothing is resized or padded. The images of one size run together through the network of
    that size, which is built from the rule when the size is first met and kept. The parameters live in one of the
    networks, the reference; before another one runs they are written to it, one number a parameter, not a connection.
    It takes an `Optimizer` and a `Trainer` as a network does.

    Parameters
    ----------
    rule : callable
        ``rule(net, image)`` adds to an empty network with the input group ``image``, of shape (channels, height,
        width), all neurons and connections, outputs too. The same trainable parameters in the same order must come out
        at every size: share weights, and end in `global_pool`.
    reference : tuple of int
        Shape (channels, height, width) of the network that holds the parameters. Their first values are drawn by its
        fan-ins, so every field should fit into it whole.
    seed, dtype, backend
        As of a `Network`.
    cache_bytes : int
        Networks at rest are kept up to that many bytes; beyond, those that have waited longest are dropped, and built
        anew when needed. The reference and the network in use stay.

    Attributes
    ----------
    reference : Network
        Holds parameters and optimizer state. Edit structure by `prune` here, not in a single network.
    last_outputs, last_targets : ndarray or None
        Outputs of the last `backward`, shape (n_images, n_outputs), and its Y.

    Raises
    ------
    InvalidValueError
        The rule fails at the reference size, or makes no outputs.

    Examples
    --------
    >>> import numpy as np, neurograph as ng
    >>> def rule(net, image):
    ...     maps = ng.topologies.fields(net, image, channels=4, offsets=ng.topologies.disk(1))
    ...     net.connect(ng.topologies.global_pool(net, maps), net.add_outputs(2))
    >>> family = ng.topologies.SizedNetworks(rule, reference=(1, 3, 3))
    >>> images = [np.ones((8, 8)), np.ones((5, 9)), np.ones((8, 8))]
    >>> loss = family.backward(images, [0, 1, 1], loss="cross_entropy")
    >>> ng.optim.Adam(lr=1e-3).step(family)
    >>> family.predict(images).shape, family.n_parameters, sorted(family.networks)
    ((3, 2), 34, [(1, 3, 3), (1, 5, 9), (1, 8, 8)])
    """

    def __init__(
        self,
        rule: Rule,
        reference: tuple[int, int, int],
        seed: int = 0,
        dtype: Any = "float32",
        backend: str = "auto",
        cache_bytes: int = 2**30,
    ):
        require(callable(rule), f"rule must be a function (net, image), not {rule!r}")
        checks.whole("cache_bytes", cache_bytes, 0)
        shape = tuple(reference) if isinstance(reference, tuple | list) else ()
        require(len(shape) == 3, f"reference must be a shape (channels, height, width), not {reference!r}")
        self._rule, self._cache_bytes = rule, int(cache_bytes)
        self._options = {"seed": seed, "dtype": dtype, "backend": backend}
        self._members: dict[tuple[int, ...], _Member] = {}  # the one used last stands last
        self._home = self._build(shape)
        self._shape = shape
        self._members[shape] = self._home
        self._numbers = self._home.weights.parameter  # of the reference's weights, also of those that are pruned
        self._kept = np.arange(len(self._numbers))
        self.last_outputs: np.ndarray | None = None
        self.last_targets: Any = None

    # -- parameters ----------------------------------------------------------------------------------------------------

    @property
    def reference(self) -> Network:
        """The network that holds the parameters and the optimizer's state."""
        return self._home.net

    @property
    def weight(self) -> np.ndarray:
        """Trainable weights, one a parameter, in ascending order of their numbers, shape (n,); assign an array."""
        return self._home.weights.weight

    @weight.setter
    def weight(self, value: Any) -> None:
        self._home.weights.weight = value

    @property
    def weight_grad(self) -> np.ndarray:
        """Gradients of the last loss with respect to `weight`."""
        return self._home.weights.grad

    @property
    def bias(self) -> np.ndarray:
        """Trainable biases, one a parameter, shape (n,); assign an array."""
        return self._home.biases.bias

    @bias.setter
    def bias(self, value: Any) -> None:
        self._home.biases.bias = value

    @property
    def bias_grad(self) -> np.ndarray:
        """Gradients of the last loss with respect to `bias`."""
        return self._home.biases.bias_grad

    @property
    def n_parameters(self) -> int:
        """Trainable weights and biases."""
        return len(self._home.weights) + len(self._home.biases)

    @property
    def n_outputs(self) -> int:
        """Columns of the prediction."""
        return self.reference.n_outputs

    @property
    def n_channels(self) -> int:
        """Channels of the images."""
        return self._shape[0]

    @property
    def n_connections(self) -> int:
        """Connections of all networks that are kept."""
        return sum(member.net.n_connections for member in self._members.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all networks that are kept, at rest."""
        return sum(member.net.nbytes for member in self._members.values())

    def prune(self, which: Any) -> int:
        """Remove weights at every size, with all connections that share them; returns how many weights.

        Networks that are built later go without them too.

        Parameters
        ----------
        which : array
            A mask over `weight`, or indices into it.

        Raises
        ------
        InvalidValueError
            No mask of that length, or no such indices. Nothing has changed then.

        Examples
        --------
        >>> import neurograph as ng
        >>> family = ng.topologies.fully_convolutional(channels=[4, 8], n_outputs=3, offsets=ng.topologies.disk(2))
        >>> before = len(family.weight)
        >>> pruned = family.prune(abs(family.weight) < 0.05)
        >>> len(family.weight) == before - pruned
        True
        """
        count = len(self._kept)
        given = np.asarray(which)
        if given.dtype != bool:
            index = checks.integers(which, "which")
            require(
                ((index >= 0) & (index < count)).all(), f"which holds indices outside of 0..{count - 1}; see `weight`"
            )
            given = np.isin(np.arange(count), index)
        require(given.shape == (count,), f"which has shape {given.shape}, but there are {count} weights")
        for member in self._members.values():
            member.drop(given)
        self._kept = self._kept[~given]
        return int(given.sum())

    # -- run -----------------------------------------------------------------------------------------------------------

    @property
    def networks(self) -> Mapping[tuple[int, ...], Network]:
        """The networks that are kept, by (channels, height, width)."""
        return MappingProxyType({shape: member.net for shape, member in self._members.items()})

    def network(self, shape: tuple[int, int, int]) -> Network:
        """The network for images of one size, with the parameters as they are now.

        Raises
        ------
        InvalidValueError
            The rule makes no network of that size, or one of other parameters.
        """
        return self._member(tuple(shape)).net

    def predict(self, images: Any, batch_size: int | None = None) -> np.ndarray:
        """Outputs for images of any sizes.

        Parameters
        ----------
        images : sequence of arrays
            Each of shape (channels, height, width), or (height, width).
        batch_size : int, optional
            Samples of one size that run together.

        Returns
        -------
        ndarray, shape (n_images, n_outputs)
            In the order given.

        Raises
        ------
        InvalidValueError
            An image has another number of channels, entries that are not finite, or a size that the rule refuses.
        """
        stacks = self._stacks(self.check_inputs(images))
        outputs = np.empty((sum(len(where) for where, _ in stacks.values()), self.n_outputs), self.reference.dtype)
        for shape, (where, X) in stacks.items():
            outputs[where] = self._member(shape).net.predict(X, batch_size)
        return outputs

    __call__ = predict

    def backward(self, images: Any, Y: Any, loss: Any = "mse") -> float:
        """Run images of any sizes, compare with Y, and fill `weight_grad` and `bias_grad`.

        Parameters
        ----------
        images : sequence of arrays
            As in `predict`.
        Y : array
            (n_images, n_outputs), or integer labels (n_images,) for "cross_entropy".
        loss : str or callable
            As in `Network.backward`; a function sees the outputs of the whole batch, which then runs twice.

        Returns
        -------
        float
            The loss, a mean over the whole batch. Where it is not finite, the gradients stay what they were.

        Raises
        ------
        InvalidValueError
            As in `predict`, or if the loss refuses Y.
        """
        measure = losses.get(loss)
        images = self.check_inputs(images)
        Y = np.asarray(Y)
        require(Y.ndim > 0 and len(Y) == len(images), f"{len(images)} images, but Y has shape {Y.shape}")
        named = measure in losses.LOSSES.values()
        value, gradient = (0.0, None) if named else measure(self.predict(images), Y)
        outputs = np.empty((len(images), self.n_outputs), self.reference.dtype)
        # The losses with a name are means over the samples, so each size counts by its number of them.
        weight_grad, bias_grad = np.zeros(len(self._home.weights)), np.zeros(len(self._home.biases))
        for shape, (where, X) in self._stacks(images).items():
            member = self._member(shape)
            if named:
                share = len(where) / len(images)
                value += share * member.net.backward(X, Y[where], loss)
            else:
                share, part = 1.0, np.asarray(gradient)[where]
                member.net.backward(X, Y[where], lambda outputs, _, part=part: (0.0, part))
            outputs[where] = member.net.last_outputs
            weight_grad += share * member.weights.grad
            bias_grad += share * member.biases.bias_grad
        self.last_outputs, self.last_targets = outputs, Y
        if math.isfinite(value):
            self._home.weights.grad = weight_grad
            self._home.biases.bias_grad = bias_grad
        return float(value)

    # -- what an Optimizer and a Trainer ask for -----------------------------------------------------------------------

    @property
    def counters(self) -> dict[str, int]:
        """Steps made, by optimizer."""
        return self.reference.counters

    @property
    def backend(self) -> ModuleType:
        """The backend's module."""
        return self.reference.backend

    @property
    def rng(self) -> np.random.Generator:
        """Random numbers of the reference."""
        return self.reference.rng

    @property
    def dtype(self) -> np.dtype:
        """Type of all numbers."""
        return self.reference.dtype

    def parameters(self, native: bool = False) -> list:
        """The blocks that an optimizer updates: those of the reference."""
        return self.reference.parameters(native)

    def check_inputs(self, images: Any) -> np.ndarray:
        """Images as an object array of arrays of shape (channels, height, width), each checked.

        Raises
        ------
        InvalidValueError
            What is no image is named by its number.
        """
        require(
            isinstance(images, list | tuple | np.ndarray) and len(images),
            "images must be a list of arrays (channels, height, width) or (height, width), and not empty",
        )
        checked = np.empty(len(images), object)
        for i, image in enumerate(images):
            array = checks.finite(checks.reals(image, self.dtype, f"image {i}"), f"image {i}")
            if array.ndim == 2:
                array = array[None]
            require(
                array.ndim == 3 and array.size,
                f"image {i} has shape {np.shape(image)}; give (channels, height, width) or (height, width)",
            )
            require(
                len(array) == self.n_channels, f"image {i} has {len(array)} channels, but {self.n_channels} are read"
            )
            checked[i] = array
        return checked

    def first_nonfinite(self) -> tuple[int, str] | None:
        """As `Network.first_nonfinite`, from the network of whatever size shows it."""
        found = (member.net.first_nonfinite() for member in self._members.values())
        return next((one for one in found if one is not None), None)

    def save(self, path: str | os.PathLike) -> None:
        """Write the reference network, which is a network like any other; `restore` takes its parameters back."""
        self.reference.save(path)

    def restore(self, path: str | os.PathLike) -> None:
        """Take parameters, pruning and optimizer state from a file that `save` wrote.

        Raises
        ------
        InvalidValueError
            The file is of a network by another rule. Nothing has changed then.
        """
        net = load(path)
        require(
            isinstance(net, Network),
            f"{path} holds {net!r}, which has no parameters to take; restore what `save` wrote",
        )
        saved = _Member(net)
        numbers = saved.weights.parameter
        require(
            np.isin(numbers, self._numbers).all()
            and len(saved.biases) == len(self._home.biases)
            and saved.net.n_neurons == self.reference.n_neurons,
            f"{path} holds a network with other parameters; build these networks by the rule that it was saved with",
        )
        self._home, self._kept = saved, np.flatnonzero(np.isin(self._numbers, numbers))
        self._members = {self._shape: saved}

    def __repr__(self) -> str:
        return f"<SizedNetworks: {self.n_parameters} parameters, {len(self._members)} sizes, {self.n_outputs} outputs>"

    # -- inside --------------------------------------------------------------------------------------------------------

    def _stacks(self, images: np.ndarray) -> dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]]:
        """By size: which images have it, and these as X."""
        where: dict[tuple[int, ...], list[int]] = {}
        for i, image in enumerate(images):
            where.setdefault(image.shape, []).append(i)
        return {
            shape: (np.array(index), np.stack([images[i].ravel() for i in index])) for shape, index in where.items()
        }

    def _member(self, shape: tuple[int, ...]) -> _Member:
        """The network of a size with the present parameters, built if need be."""
        member = self._members.pop(shape, None)
        if member is None:
            member = self._build(shape)
            gone = np.ones(len(self._numbers), bool)
            gone[self._kept] = False
            member.drop(gone)
            self._make_room(member.net.nbytes)
        self._members[shape] = member
        if member is not self._home:
            member.weights.weight = self._home.weights.weight
            member.biases.bias = self._home.biases.bias
        return member

    def _make_room(self, more: int) -> None:
        used = self.nbytes + more
        for shape in list(self._members):
            if used <= self._cache_bytes:
                return
            if shape != self._shape:
                used -= self._members.pop(shape).net.nbytes

    def _build(self, shape: tuple[int, ...]) -> _Member:
        net = Network(**self._options)
        try:
            self._rule(net, net.add_inputs(shape, name="image"))
            require(net.n_outputs, "the rule marks no outputs; use net.add_outputs or net.mark_outputs")
            member = _Member(net)
            if self._members:
                found = len(member.weights), len(member.biases), net.n_outputs
                expected = len(self._numbers), len(self._home.biases), self.n_outputs
                require(
                    found == expected,
                    f"the rule makes {found} weights, biases and outputs, but {expected} at the reference size "
                    f"{self._shape}; share weights, and end in global_pool",
                )
        except InvalidValueError as error:
            raise InvalidValueError(f"images of size {shape}: {error}") from error
        return member


class _Member:
    """A network with one connection, and one neuron, for each of its trainable parameters."""

    def __init__(self, net: Network):
        self.net = net
        conns = net.connections
        conns = conns[~conns.frozen]
        self.weights = conns[np.unique(conns.parameter, return_index=True)[1]]
        neurons = net.group(np.setdiff1d(net.neurons.ids, net.inputs.ids))
        neurons = neurons[~neurons.bias_frozen]
        self.biases = neurons[np.unique(neurons.bias_parameter, return_index=True)[1]]

    def drop(self, gone: np.ndarray) -> None:
        """Remove parameters with all their connections."""
        if gone.any():
            conns = self.net.connections
            self.net.prune(conns[np.isin(conns.parameter, self.weights[gone].parameter)])
            self.weights = self.weights[~gone]
