"""Ready methods from the literature, each in a file of its own, put together from the parts of this package."""

from .admm import ADMM, ProgressiveADMM
from .drop_back import DropBack
from .gradual import GradualMagnitude
from .hard_concrete import HardConcrete
from .set import SET
from .surgery import DynamicNetworkSurgery
from .weight_elimination import WeightElimination

__all__ = [
    "ADMM",
    "SET",
    "DropBack",
    "DynamicNetworkSurgery",
    "GradualMagnitude",
    "HardConcrete",
    "ProgressiveADMM",
    "WeightElimination",
]
