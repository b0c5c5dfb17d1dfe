"""Which connections a network has: pruning, regrowing and the recipes that do both while it trains.

Every method is the same pattern: a *score* for each connection, a *count* of how many go, a *schedule* that says when,
and an *exact selection* that takes precisely that many. `scores` holds the scores, `select` the selection, `prune` the
scopes in which counts are taken, `rewire` prune and grow at a constant number of connections, `recipe` what a training
step asks of a method, `recipes` ready methods.
"""

from .prune import SCOPES, prune_lowest
from .recipe import Recipe, Watch
from .recipes import (
    ADMM,
    SET,
    DropBack,
    DynamicNetworkSurgery,
    GradualMagnitude,
    HardConcrete,
    ProgressiveADMM,
    WeightElimination,
)
from .rewire import GROWERS, Rewire, Rewired
from .scores import SCORES

__all__ = [
    "ADMM",
    "GROWERS",
    "SCOPES",
    "SCORES",
    "SET",
    "DropBack",
    "DynamicNetworkSurgery",
    "GradualMagnitude",
    "HardConcrete",
    "ProgressiveADMM",
    "Recipe",
    "Rewire",
    "Rewired",
    "Watch",
    "WeightElimination",
    "prune_lowest",
]
