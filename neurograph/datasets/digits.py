"""The UCI optical digits, shipped inside the package."""

import numpy as np

from ..datasets.split import Split

__all__ = ["load_digits"]


def load_digits() -> Split:
    """Load 1,797 real handwritten digits of 8 x 8 pixels. Needs no network access.

    Source: E. Alpaydin and C. Kaynak (1998), "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, https://doi.org/10.24432/C50P49, licence CC BY 4.0.

    Returns
    -------
    Split
        ``x_train`` (1442, 64), ``y_train``, ``x_test`` (355, 64), ``y_test``. Every fifth image of each digit, in the
        order of the source, is a test image: the split is always the same, and each digit is as frequent in both parts.

    Examples
    --------
    >>> digits = load_digits()
    >>> digits.x_train.shape, digits.x_test.shape, float(digits.x_train.max())
    ((1442, 64), (355, 64), 1.0)
    >>> digits.y_train[:10]
    array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    from importlib.resources import as_file, files

    with (
        as_file(files("neurograph.datasets") / "data" / "digits.npz") as path,
        np.load(path, allow_pickle=False) as data,
    ):
        images, labels = data["images"], data["labels"].astype(np.int64)
    pixels = images.reshape(len(images), -1).astype(np.float32) / 16
    test = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        test[np.flatnonzero(labels == digit)[4::5]] = True
    return Split(pixels[~test], labels[~test], pixels[test], labels[test])
