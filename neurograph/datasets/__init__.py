"""Data to learn from: small ones inside the package, larger ones read from a file."""

from ..datasets.digits import load_digits
from ..datasets.mnist import load_mnist
from ..datasets.split import Split

__all__ = ["Split", "load_digits", "load_mnist"]
