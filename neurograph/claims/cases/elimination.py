"""Weight elimination (Weigend, Rumelhart & Huberman 1991): yearly sunspots, 12 years in, the next one out."""

from collections.abc import Iterator

import numpy as np

from ... import optim, sparsity, topologies
from ...errors import MissingDependencyError
from ...functions import schedules
from ...network import Network
from ...train import Trainer
from ..rows import Row, Settings

ABOUT = "weight elimination: fewer effective weights forecast the sunspots of 1921 to 1955 better"

YEARS_IN, HIDDEN = 12, 8
LARGEST = 191.2  # by which they divide the series, so that it is between 0 and 1
VARIANCE = 0.041056  # of the whole series in these units, by which they divide mean squared errors
BATCH, EPOCHS, RATE, MOMENTUM = 20, 6000, 0.1, 0.9
W0, DELTA = 1.0, 5e-6


def run(settings: Settings) -> Iterator[Row]:
    """Test error and effective number of weights, with and without."""
    X, y, X_test, y_test = sunspots()
    epochs = 3 if settings.quick else EPOCHS
    per_epoch = -(-len(X) // BATCH)
    error: dict[bool, list[float]] = {False: [], True: []}
    effective: dict[bool, list[float]] = {False: [], True: []}
    trained: dict[bool, list[float]] = {False: [], True: []}
    for seed in settings.seeds:
        for eliminated in (False, True):
            net = topologies.layered([YEARS_IN, HIDDEN, 1], activation="tanh", weight="xavier", seed=seed)
            recipe = sparsity.WeightElimination(w0=W0, every=per_epoch, delta=DELTA) if eliminated else None
            rate = schedules.Cosine(RATE, steps=epochs * per_epoch)
            trainer = Trainer(net, "mse", optim.SGD(rate, momentum=MOMENTUM), recipe, seed=seed)
            trainer.fit(X, y, epochs, BATCH, progress=False)
            effective[eliminated].append(sparsity.WeightElimination(w0=W0).effective(net))
            error[eliminated].append(relative(net, X_test, y_test))
            trained[eliminated].append(relative(net, X, y))
    better = tuple(np.subtract(error[False], error[True]))
    fewer = tuple(np.subtract(effective[False], effective[True]))
    note = (
        f"mean squared error over variance: {np.mean(error[False]):.3f} without, {np.mean(error[True]):.3f} with; "
        f"training {np.mean(trained[False]):.3f} and {np.mean(trained[True]):.3f}; {epochs} epochs each"
    )
    yield Row("test error lower by", float(np.mean(better)), 0.0, True, "", better, note)
    note = f"{np.mean(effective[False]):.1f} without, {np.mean(effective[True]):.1f} with"
    yield Row("effective weights fewer by", float(np.mean(fewer)), 0.0, True, "", fewer, note)


def sunspots() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """X, y, X_test, y_test: up to 1920, and 1921 to 1955.

    Raises
    ------
    MissingDependencyError
        statsmodels is not installed.
    """
    try:
        from statsmodels.datasets import sunspots as source
    except ImportError as error:
        raise MissingDependencyError(
            f"the sunspots come with statsmodels, which cannot be imported ({error}): pip install statsmodels"
        ) from error
    table = source.load_pandas().data
    years, series = table["YEAR"].to_numpy().astype(int), table["SUNACTIVITY"].to_numpy() / LARGEST
    past = np.lib.stride_tricks.sliding_window_view(series, YEARS_IN)[:-1]
    following, year = series[YEARS_IN:, None], years[YEARS_IN:]
    train, test = year <= 1920, (year > 1920) & (year <= 1955)
    return past[train], following[train], past[test], following[test]


def relative(net: Network, X: np.ndarray, y: np.ndarray) -> float:
    """Mean squared error over the variance of the series: their average relative variance."""
    return float(np.mean((net.predict(X) - y) ** 2)) / VARIANCE
