"""The shipped data equal their source; read data are scaled and checked."""

from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets

from neurograph.datasets import load_digits, load_mnist
from neurograph.errors import FileFormatError

MNIST = Path(__file__).parents[1] / ".." / "shared" / "data" / "mnist.npz"

pytestmark = pytest.mark.nojit


def test_digits_are_those_of_scikit_learn():
    digits, truth = load_digits(), sklearn.datasets.load_digits()
    ours = np.concatenate([digits.x_train, digits.x_test]) * 16
    labels = np.concatenate([digits.y_train, digits.y_test])
    order, expected = np.lexsort([*ours.T, labels]), np.lexsort([*truth.data.T, truth.target])
    np.testing.assert_array_equal(ours[order], truth.data[expected])
    np.testing.assert_array_equal(labels[order], truth.target[expected])


def test_digits_are_scaled_typed_and_split_evenly():
    digits = load_digits()
    assert digits.x_train.dtype == digits.x_test.dtype == np.float32
    assert digits.y_train.dtype == digits.y_test.dtype == np.int64
    assert digits.x_train.min() == 0
    assert digits.x_train.max() == 1
    share = np.bincount(digits.y_test) / (np.bincount(digits.y_train) + np.bincount(digits.y_test))
    np.testing.assert_allclose(share, 0.2, atol=0.005)


def test_digits_are_the_same_each_time_and_the_callers_own():
    first = load_digits()
    first.x_train[:] = 7
    assert load_digits().x_train.max() == 1


@pytest.mark.skipif(not MNIST.exists(), reason="needs ../shared/data/mnist.npz beside the checkout")
def test_mnist_is_read_scaled_and_in_order():
    mnist = load_mnist(MNIST)
    assert [part.shape for part in mnist] == [(60000, 784), (60000,), (10000, 784), (10000,)]
    assert [part.dtype for part in mnist] == [np.float32, np.int64] * 2
    assert mnist.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    with np.load(MNIST) as raw:
        image = raw["x_test"][123].ravel()
    np.testing.assert_array_equal(np.rint(mnist.x_test[123] * 255), image)
    assert mnist.x_train.max() == 1


def small_mnist(path, **changes):
    arrays = {
        "x_train": np.full((3, 2, 2), 51, np.uint8),
        "y_train": np.array([1, 2, 3], np.uint8),
        "x_test": np.zeros((1, 2, 2), np.uint8),
        "y_test": np.array([7], np.uint8),
    } | changes
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    return path


def test_a_small_file_of_the_same_layout_is_read(tmp_path):
    data = load_mnist(small_mnist(tmp_path / "small.npz"))
    np.testing.assert_array_equal(data.x_train, np.full((3, 4), np.float32(0.2)))
    assert data.y_test.tolist() == [7]


def test_a_missing_file_says_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*mnist\.npz.*Download.*https://"):
        load_mnist(tmp_path / "mnist.npz")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"y_test": None}, "y_test"),
        ({"x_train": np.zeros((3, 4), np.uint8)}, r"x_train of shape \(3, 4\)"),
        ({"x_train": np.zeros((3, 2, 2))}, "float64"),
        ({"y_train": np.zeros(2, np.uint8)}, r"y_train of shape\s+\(2,\)"),
        ({"y_test": np.array([None], dtype=object)}, "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, changes, text):
    with pytest.raises(FileFormatError, match=text):
        load_mnist(small_mnist(tmp_path / "wrong.npz", **changes))


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 broken"])
def test_no_archive_at_all_is_refused(tmp_path, content):
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="cannot be read"):
        load_mnist(path)


def test_a_bare_array_is_refused(tmp_path):
    np.save(tmp_path / "bare.npy", np.zeros(3))
    with pytest.raises(FileFormatError, match="cannot be read"):
        load_mnist(tmp_path / "bare.npy")
