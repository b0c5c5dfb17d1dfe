"""Where the images come from."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..datasets import Split, load_digits, load_mnist
from ..errors import InvalidValueError, MissingDependencyError

__all__ = ["load"]

N_TRAIN = 60_000  # of the 70,000 images at OpenML, which are in MNIST's order


def load(path: str | os.PathLike | None = None, openml: bool = False) -> tuple[str, Split]:
    """Load MNIST, or the digits in the package where nothing else is asked for.

    Parameters
    ----------
    path : path, optional
        Of mnist.npz, or of the folder that it is in.
    openml : bool
        Let scikit-learn download MNIST from openml.org, or take its copy of it.

    Returns
    -------
    name : str
        "MNIST" or "digits".
    data : Split

    Raises
    ------
    InvalidValueError
        Both were given.
    FileNotFoundError, FileFormatError
        As `datasets.load_mnist`.

    Examples
    --------
    >>> name, data = load()
    >>> name, data.x_train.shape
    ('digits', (1442, 64))
    """
    if path is not None and openml:
        raise InvalidValueError("give a path or openml, not both")
    if openml:
        return "MNIST", _from_openml()
    if path is None:
        return "digits", load_digits()
    file = Path(path)
    return "MNIST", load_mnist(file / "mnist.npz" if file.is_dir() else file)


def _from_openml() -> Split:
    try:
        from sklearn.datasets import fetch_openml

        X, y = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False)
    except ImportError as error:
        raise MissingDependencyError(
            f"OpenML needs scikit-learn and pandas ({error}); install them by pip install scikit-learn pandas, or give "
            "the path of mnist.npz"
        ) from error
    X, y = np.asarray(X, np.float32) / 255, np.asarray(y).astype(np.int64)
    return Split(X[:N_TRAIN], y[:N_TRAIN], X[N_TRAIN:], y[N_TRAIN:])
