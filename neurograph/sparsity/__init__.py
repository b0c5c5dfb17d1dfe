"""Which connections a network has: pruning, regrowing and the recipes that do both while it trains.

Every method is the same pattern: a *score* for each connection, a *count* of how many go, a *schedule* that says when,
and an *exact selection* that takes precisely that many. `scores` holds the scores of a moment, `accumulated` those that
add up over a training, `before_training` those of an untrained network, `neurons` those of whole neurons and `learned`
a network that scores; `select` the selection, `prune` the scopes in which counts are taken, `guard` what pruning must
not do unseen, `checkpoint` the way back, `growth` where new connections grow, `absent` the gradients that they would
have, `allowed` which pairs may be connected, `rewire` prune and grow at a constant number of connections, `densities`
how many each pair of layers gets, `recipe` what a training step asks of a method, `recipes` ready methods.
"""

from ..distillation import Distillation
from .absent import pair_gradients
from .accumulated import Fisher, Movement, Taylor, fisher, taylor
from .before_training import grasp, prune_before_training, snip, synflow
from .blocks import block_order
from .checkpoint import Checkpoint
from .densities import densities, erdos_renyi, erk, prune_to, uniform
from .growth import Gradient, Grower, Momentum, Random
from .guard import remove
from .learned import LearnedPruner
from .neurons import NEURON_SCORES, fan_in_sum, fan_out_sum, mean_activation, prune_neurons, share_active
from .prune import SCOPES, prune_lowest
from .recipe import Recipe, Watch
from .recipes import (
    ADMM,
    SET,
    DeepR,
    DropBack,
    DynamicNetworkSurgery,
    GradualMagnitude,
    HardConcrete,
    LotteryTickets,
    ProgressiveADMM,
    RigL,
    Round,
    Sleep,
    SparseMomentum,
    WeightElimination,
)
from .rewire import GROWERS, Rewire, Rewired
from .scores import SCORES

__all__ = [
    "ADMM",
    "GROWERS",
    "NEURON_SCORES",
    "SCOPES",
    "SCORES",
    "SET",
    "Checkpoint",
    "DeepR",
    "Distillation",
    "DropBack",
    "DynamicNetworkSurgery",
    "Fisher",
    "Gradient",
    "GradualMagnitude",
    "Grower",
    "HardConcrete",
    "LearnedPruner",
    "LotteryTickets",
    "Momentum",
    "Movement",
    "ProgressiveADMM",
    "Random",
    "Recipe",
    "Rewire",
    "Rewired",
    "RigL",
    "Round",
    "Sleep",
    "SparseMomentum",
    "Taylor",
    "Watch",
    "WeightElimination",
    "block_order",
    "densities",
    "erdos_renyi",
    "erk",
    "fan_in_sum",
    "fan_out_sum",
    "fisher",
    "grasp",
    "mean_activation",
    "pair_gradients",
    "prune_before_training",
    "prune_lowest",
    "prune_neurons",
    "prune_to",
    "remove",
    "share_active",
    "snip",
    "synflow",
    "taylor",
    "uniform",
]
