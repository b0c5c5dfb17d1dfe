"""Ready methods from the literature, each in a file of its own, put together from the parts of this package."""

from .admm import ADMM, ProgressiveADMM
from .drop_back import DropBack
from .gradual import GradualMagnitude
from .hard_concrete import HardConcrete
from .lottery import LotteryTickets, Round
from .set import SET
from .sleep import Sleep
from .surgery import DynamicNetworkSurgery
from .weight_elimination import WeightElimination

__all__ = [
    "ADMM",
    "SET",
    "DropBack",
    "DynamicNetworkSurgery",
    "GradualMagnitude",
    "HardConcrete",
    "LotteryTickets",
    "ProgressiveADMM",
    "Round",
    "Sleep",
    "WeightElimination",
]
