"""Data to learn from, and brains to learn with: small ones inside the package, larger ones read from a file."""

from ..datasets.connectome import Connectome, load_connectome
from ..datasets.digits import load_digits
from ..datasets.mnist import load_mnist
from ..datasets.split import Split

__all__ = ["Connectome", "Split", "load_connectome", "load_digits", "load_mnist"]
