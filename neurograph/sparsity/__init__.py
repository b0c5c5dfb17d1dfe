"""Which connections a network has: pruning, regrowing and the recipes that do both while it trains.

Every method is the same pattern: a *score* for each connection, a *count* of how many go, a *schedule* that says when,
and an *exact selection* that takes precisely that many. `scores` holds the scores, `select` the selection, `prune` the
scopes in which counts are taken, `growth` where new connections grow, `absent` the gradients that they would have,
`allowed` which pairs may be connected, `rewire` prune and grow at a constant number of connections, `densities` how
many each pair of layers gets, `recipe` what a training step asks of a method, `recipes` ready methods.
"""

from .absent import pair_gradients
from .densities import densities, erdos_renyi, erk, prune_to, uniform
from .growth import Gradient, Grower, Momentum, Random
from .prune import SCOPES, prune_lowest
from .recipe import Recipe, Watch
from .recipes import SET, DeepR, GradualMagnitude, RigL, SparseMomentum
from .rewire import GROWERS, Rewire, Rewired
from .scores import SCORES

__all__ = [
    "GROWERS",
    "SCOPES",
    "SCORES",
    "SET",
    "DeepR",
    "GradualMagnitude",
    "Gradient",
    "Grower",
    "Momentum",
    "Random",
    "RigL",
    "SparseMomentum",
    "Recipe",
    "Rewire",
    "Rewired",
    "Watch",
    "densities",
    "erdos_renyi",
    "erk",
    "pair_gradients",
    "prune_to",
    "uniform",
    "prune_lowest",
]
