"""The demonstration: a dense layered network and a sparse irregular one learn handwritten digits, side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import datasets, optim, plot, sparsity, topologies
from .errors import InvalidValueError
from .functions import schedules
from .network import Network
from .train import History, Trainer

__all__ = ["Result", "run"]

N_PIXELS, N_DIGITS = 64, 10
HIDDEN = (128, 64)
# Shares of the possible connections from pixels to hidden neurons, among these, and from both to the outputs:
# a tenth of all together, more of them where there are few to choose from.
DENSITIES = (0.135, 0.036, 0.39)
BATCH_SIZE = 32
LEARNING_RATE = 3e-3


@dataclass(frozen=True)
class Result:
    """One line of the table: a trained network and how its training went.

    Attributes
    ----------
    name : str
        What the network is.
    net : Network
        The network, trained.
    history : History
        One entry an epoch.
    accuracy : float
        Share of the test images that it gets right, 0 to 1.
    seconds : float
        Time of the training.
    """

    name: str
    net: Network
    history: History
    accuracy: float
    seconds: float


def run(
    epochs: int = 30,
    seed: int = 0,
    output: str | os.PathLike = "neurograph_demo.png",
    backend: str = "auto",
    progress: bool = True,
    say: Callable[[str], Any] = print,
) -> list[Result]:
    """Train both networks on the UCI digits, print a table and draw a picture.

    The layered network is a dense 64-128-64-10 perceptron. The irregular one has the same neurons, wired as a random
    directed acyclic graph, skip connections included, with a tenth of all the connections that it could have; while it
    trains, the weakest connections are pruned and new ones grow elsewhere (SET; Mocanu et al. 2018), fewer each time.

    Parameters
    ----------
    epochs : int
        How often each network sees the training images.
    seed : int
        The same seed gives the same networks and accuracies.
    output : path
        Where the picture goes, a ``.png``, ``.svg`` or ``.pdf``.
    backend : {"auto", "cpu", "gpu", "reference"}
        What runs the networks.
    progress : bool
        Show a bar for each training.
    say : callable
        Takes each line of text.

    Returns
    -------
    list of Result
        The dense network's, then the sparse one's.

    Raises
    ------
    InvalidValueError
        `epochs` is below 1, `seed` is below 0, or the picture cannot be written where `output` points.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     results = run(1, output=f"{folder}/demo.png", backend="reference", progress=False, say=lambda text: None)
    >>> [result.net.n_connections for result in results]
    [17024, 3317]
    """
    output = _checked(epochs, seed, output)
    data = datasets.load_digits()
    n_train, n_test = len(data.x_train), len(data.x_test)
    say(f"UCI handwritten digits: {n_train:,} images to learn from, {n_test} to be tested on, 8 x 8 pixels each.")
    say("Preparing the networks; the first time, kernels compile for this machine, and are kept on disk after that ...")
    start = time.perf_counter()
    dense = topologies.layered([N_PIXELS, *HIDDEN, N_DIGITS], seed=seed, backend=backend)
    sparse = irregular(seed, backend)
    dense.compile()
    say(f"Ready after {time.perf_counter() - start:.1f} s.\n")

    steps = epochs * -(-n_train // BATCH_SIZE)
    last = max(1, round(0.75 * steps))
    rewire = sparsity.SET(fraction=schedules.Cosine(0.3, last), every=max(1, steps // 20), stop=last)
    results = []
    for name, net, rule in (("layered, dense", dense, None), ("irregular, 10% wired", sparse, rewire)):
        say(f"Training the network {name!r}: {net.n_connections:,} connections, {net.schedule.depth} generations.")
        results.append(_train(name, net, rule, data, epochs, steps, progress))
    say("\n" + table(results))
    picture(results, output)
    say(f"\nPicture: {output}")
    return results


def irregular(seed: int = 0, backend: str = "auto") -> Network:
    """Wire the demo's sparse network: a random directed acyclic graph with skip connections and no layers.

    Examples
    --------
    >>> net = irregular()
    >>> possible = 64 * 192 + 192 * 191 // 2 + (64 + 192) * 10
    >>> round(net.n_connections / possible, 3)
    0.1
    """
    net = Network(seed=seed, backend=backend)
    pixels = net.add_inputs(N_PIXELS, name="pixels")
    hidden = net.add_neurons(sum(HIDDEN), activation="relu", name="hidden")
    digits = net.add_outputs(N_DIGITS, name="digits")
    pairs = ((pixels, hidden), (hidden, hidden), (pixels | hidden, digits))
    for (sources, targets), density in zip(pairs, DENSITIES, strict=True):
        net.connect(sources, targets, density=density)
    return net


def _checked(epochs: int, seed: int, output: str | os.PathLike) -> Path:
    """Refuse now what would otherwise fail after the training."""
    from matplotlib.backend_bases import FigureCanvasBase

    if epochs < 1:
        raise InvalidValueError(f"epochs is {epochs}; give 1 or more.")
    if seed < 0:
        raise InvalidValueError(f"seed is {seed}; give 0 or more.")
    output = Path(output)
    kinds = sorted(FigureCanvasBase.get_supported_filetypes())
    if output.suffix.lower().removeprefix(".") not in kinds:
        raise InvalidValueError(f"No picture can be written to {output}: end its name in one of .{', .'.join(kinds)}.")
    if not output.absolute().parent.is_dir():
        raise InvalidValueError(f"There is no folder {output.absolute().parent} for the picture: make it first.")
    return output


def _train(
    name: str, net: Network, rewire: Any, data: datasets.Split, epochs: int, steps: int, progress: bool
) -> Result:
    trainer = Trainer(
        net, loss="cross_entropy", optimizer=optim.Adam(lr=schedules.Cosine(LEARNING_RATE, steps)), rewire=rewire
    )
    start = time.perf_counter()
    history = trainer.fit(
        data.x_train,
        data.y_train,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        validation_data=(data.x_test, data.y_test),
        progress=progress,
    )
    seconds = time.perf_counter() - start
    return Result(name, net, history, trainer.evaluate(data.x_test, data.y_test)["accuracy"], seconds)


def table(results: Sequence[Result]) -> str:
    """Lay the results out as text, one line each."""
    heads = ("network", "connections", "bytes", "test accuracy", "seconds")
    rows = [
        (
            result.name,
            f"{result.net.n_connections:,}",
            f"{result.net.nbytes:,}",
            f"{result.accuracy:.1%}",
            f"{result.seconds:.1f}",
        )
        for result in results
    ]
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in (heads, *rows)
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def picture(results: Sequence[Result], output: Path) -> None:
    """Draw the last network, and how all of them learned, into one file."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(14, 6.5), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    halves: Any = figure.subfigures(1, 2, width_ratios=(1.75, 1))
    left, right = halves
    network = left.subplots()
    curves, sizes = right.subplots(2, 1, height_ratios=(2.2, 1))

    plot.network(results[-1].net, network)
    network.set_title(f"{results[-1].name}: {network.get_title()}", fontsize=11)
    plot.history({result.name: result.history for result in results}, curves, key="val_accuracy")
    curves.set_title("accuracy on the test images", fontsize=11)
    curves.set_ylabel("")
    curves.legend(loc="lower right", frameon=False, fontsize=9)
    lowest = min(
        min(result.history["val_accuracy"][min(2, len(result.history["val_accuracy"]) - 1) :]) for result in results
    )
    curves.set_ylim(max(0.0, lowest - 0.05), 1.005)
    _bars(sizes, results)
    figure.savefig(output, dpi=150)


def _bars(ax: Any, results: Sequence[Result]) -> None:
    from .plot.style import CYCLE, plain

    plain(ax)
    counts = [result.net.n_connections for result in results]
    places = range(len(results))
    ax.barh(places, counts, color=CYCLE[: len(results)], height=0.62)
    for place, result in zip(places, results, strict=True):
        text = f" {result.net.n_connections:,}  ({result.accuracy:.1%} right)"
        ax.text(result.net.n_connections, place, text, va="center", fontsize=9)
    ax.set_yticks(places, [result.name for result in results])
    ax.invert_yaxis()
    ax.set_xlim(0, 1.8 * max(counts))
    ax.set_title("connections", fontsize=11)
    ax.grid(visible=False)
    ax.spines["bottom"].set_visible(False)
    ax.set_xticks([])
