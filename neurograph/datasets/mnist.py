"""MNIST, read from a file that the user has."""

import os

import numpy as np

from ..datasets.split import Split
from ..errors import FileFormatError

__all__ = ["load_mnist"]

URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"


def load_mnist(path: str | os.PathLike) -> Split:
    """Load the 70,000 handwritten digits of MNIST from an ``.npz`` file such as the one that Keras offers.

    Source: Y. LeCun, C. Cortes and C. Burges, licence CC BY-SA 3.0.

    Parameters
    ----------
    path : path
        A file with ``x_train`` (60000, 28, 28) and ``x_test`` (10000, 28, 28) of uint8, ``y_train`` and ``y_test``.
        Other numbers of images and other sizes are taken as they are.

    Returns
    -------
    Split
        ``x_train`` (60000, 784), ``y_train``, ``x_test`` (10000, 784), ``y_test``, in the order of the file.

    Raises
    ------
    FileNotFoundError
        There is no such file; the message says where to get it.
    FileFormatError
        The file is no such archive, or an array in it is missing or has the wrong shape.

    Examples
    --------
    >>> load_mnist("no such file.npz")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    FileNotFoundError: There is no file 'no such file.npz'. Download MNIST (11 MB) from https://...
    """
    from zipfile import BadZipFile

    name = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"There is no file {name!r}. Download MNIST (11 MB) from {URL} and give the path of that file."
        )
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as data:
            raw = {key: data[key] for key in Split._fields}
    except KeyError as error:
        raise FileFormatError(
            f"{name!r} lacks an array ({error.args[0]}); it must hold {', '.join(Split._fields)}, as {URL} does."
        ) from error
    except (OSError, ValueError, TypeError, AttributeError, EOFError, BadZipFile) as error:
        raise FileFormatError(
            f"{name!r} cannot be read as an .npz archive ({error}). Download it again from {URL}."
        ) from error
    for part in ("train", "test"):
        images, labels = raw[f"x_{part}"], raw[f"y_{part}"]
        if images.dtype != np.uint8 or images.ndim != 3 or labels.shape != images.shape[:1]:
            raise FileFormatError(
                f"{name!r} holds x_{part} of shape {images.shape} and dtype {images.dtype}, and y_{part} of shape "
                f"{labels.shape}; needed are (images, height, width) of uint8 and (images,). Download it from {URL}."
            )
    return Split(
        x_train=_scaled(raw["x_train"]),
        y_train=raw["y_train"].astype(np.int64),
        x_test=_scaled(raw["x_test"]),
        y_test=raw["y_test"].astype(np.int64),
    )


def _scaled(images: np.ndarray) -> np.ndarray:
    pixels = images.reshape(len(images), -1).astype(np.float32)
    pixels /= 255
    return pixels
