"""Ready methods from the literature, each in a file of its own, put together from the parts of this package."""

from .admm import ADMM, ProgressiveADMM
from .deep_r import DeepR
from .drop_back import DropBack
from .gradual import GradualMagnitude
from .hard_concrete import HardConcrete
from .lottery import LotteryTickets, Round
from .rigl import RigL
from .set import SET
from .sleep import Sleep
from .sparse_momentum import SparseMomentum
from .surgery import DynamicNetworkSurgery
from .weight_elimination import WeightElimination

__all__ = [
    "ADMM",
    "SET",
    "DeepR",
    "DropBack",
    "DynamicNetworkSurgery",
    "GradualMagnitude",
    "HardConcrete",
    "LotteryTickets",
    "ProgressiveADMM",
    "RigL",
    "Round",
    "Sleep",
    "SparseMomentum",
    "WeightElimination",
]
