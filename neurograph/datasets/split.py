"""What every loader returns."""

from typing import NamedTuple

import numpy as np

__all__ = ["Split"]


class Split(NamedTuple):
    """Images and labels, divided into a part to learn from and a part to be tested on.

    Attributes
    ----------
    x_train, x_test : array of float32, shape (images, pixels)
        Brightness of each pixel, 0 to 1, row after row.
    y_train, y_test : array of int64, shape (images,)
        Class of each image.

    Examples
    --------
    >>> from neurograph.datasets import load_digits
    >>> x_train, y_train, x_test, y_test = load_digits()
    >>> x_train.shape, y_test.shape
    ((1442, 64), (355,))
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
