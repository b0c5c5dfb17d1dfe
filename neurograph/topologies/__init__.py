"""Functions that return a Network of a well-known shape."""

from .connectome import connectome, null_model
from .from_graph import from_graph
from .layered import layered
from .radix_net import radix_net
from .random_dag import random_dag
from .random_geometric import random_geometric
from .ring import ring
from .scale_free import scale_free
from .small_world import small_world
from .stochastic_block import stochastic_block
from .torus import torus

__all__ = [
    "connectome",
    "from_graph",
    "layered",
    "null_model",
    "radix_net",
    "random_dag",
    "random_geometric",
    "ring",
    "scale_free",
    "small_world",
    "stochastic_block",
    "torus",
]
