"""The MIT/Amazon/IEEE Sparse DNN Graph Challenge: an official instance, with its official answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import neurograph as ng

from ..harness import compare
from ..rows import Bound, NotHere, Row, Settings

__all__ = ["challenge"]

FILE = "graph_challenge_1024x120.npz"
BIAS, CEILING, WEIGHT = -0.3, 32.0, 1 / 16


def challenge(layers: int = 120, images: int = 1200) -> list[Row]:
    """Images through layers of 1,024 neurons, against a SciPy loop on CSR activations; categories must be exact.

    Kepner et al. (2019), "Sparse Deep Neural Network Graph Challenge". The file is no part of the package: ``--data``
    names its folder. With fewer layers than 120 there is no official answer, and SciPy's has to be ours.
    """

    def measure(settings: Settings) -> dict[str, Any]:
        with np.load(find(settings, FILE)) as file:
            sources, golden = file["sources"][:layers], file["golden"]
            X = pixels(file["images_indptr"], file["images_indices"])[:images]
        official = layers == 120
        expected = [golden[golden < images]] if official else []

        def ours() -> Callable[[], object]:
            net = network(sources)
            X32 = X.toarray()
            categories = np.flatnonzero(net.predict(X32).any(axis=1))
            expected.append(categories)
            if not np.array_equal(expected[0], categories):
                raise AssertionError(f"categories are {categories.tolist()}, not the official {expected[0].tolist()}")
            return lambda: net.predict(X32)

        def scipy() -> Callable[[], object]:
            step = loop(sources, X)
            categories = np.flatnonzero(np.diff(step().indptr))
            if not np.array_equal(expected[0], categories):
                raise AssertionError(f"SciPy's categories are {categories.tolist()}, not {expected[0].tolist()}")
            return step

        return compare(ours, scipy, settings) | {"connections": sources.size, "categories": len(expected[0])}

    return [
        Row(
            f"Graph Challenge, {images:,} images x {layers} layers x 1,024 neurons, categories exact",
            "SciPy, CSR activations",
            measure,
            target=(Bound("ratio", 3),),
        )
    ]


def find(settings: Settings, name: str) -> Path:
    """Path of a data file: in the folder that was given, or in ``shared/data`` beside the checkout.

    Raises
    ------
    NotHere
        It is in neither.
    """
    folder = Path(settings.data) if settings.data else Path(ng.__file__).parents[2] / "shared" / "data"
    if not (folder / name).is_file():
        raise NotHere(f"{name} not found: give its folder with --data")
    return folder / name


def pixels(indptr: np.ndarray, indices: np.ndarray) -> Any:
    """The images as a SciPy CSR array of 0 and 1, (images, 1024)."""
    from scipy import sparse

    return sparse.csr_array((np.ones(len(indices), np.float32), indices, indptr), (len(indptr) - 1, 1024))


def network(sources: np.ndarray, backend: str = "auto") -> ng.Network:
    """The network that an instance describes: ``sources[layer, neuron]`` are the neurons of the layer before.

    Examples
    --------
    >>> import numpy as np
    >>> net = network(np.tile(np.arange(4), (3, 4, 1)))
    >>> net.n_connections, net.predict(np.full((1, 4), 8.0)).tolist()
    (48, [[0.0, 0.0, 0.0, 0.0]])
    """
    n_layers, width, fan_in = sources.shape
    net = ng.Network(seed=0, backend=backend)
    net.add_inputs(width)
    for _ in range(n_layers):
        last = net.add_neurons(width, activation=("clipped_relu", CEILING), bias=BIAS)
    net.mark_outputs(last)
    first = width * np.arange(n_layers)[:, None, None]
    target = np.broadcast_to(first + width + np.arange(width)[:, None], sources.shape)
    net.add_connections((first + sources).ravel(), target.ravel(), weight=WEIGHT)
    return net


def loop(sources: np.ndarray, X: Any) -> Callable[[], Any]:
    """The layers as SciPy products, activations kept sparse: only what is above 0 goes on."""
    from scipy import sparse

    n_layers, width, fan_in = sources.shape
    starts = fan_in * np.arange(width + 1)
    value = np.full(width * fan_in, WEIGHT, np.float32)
    # Transposed once, for rows are images.
    weights = [sparse.csr_array((value, s.ravel().astype(np.int64), starts), (width, width)).T.tocsr() for s in sources]

    def step() -> Any:
        y = X
        for weight in weights:
            y = y @ weight
            y.data += np.float32(BIAS)  # what is not stored is 0, and stays so: the bias is negative
            np.clip(y.data, 0, CEILING, out=y.data)
            y.eliminate_zeros()
        return y

    return step
