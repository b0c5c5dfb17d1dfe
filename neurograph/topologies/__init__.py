"""Functions that return a Network of a well-known shape, or add well-known parts to one."""

from .connectome import connectome, null_model
from .fields import fields
from .from_graph import from_graph
from .fully_convolutional import fully_convolutional
from .layered import layered
from .mixed_sizes import SizedNetworks
from .offsets import box, dilated, disk, fovea, ring, subset
from .pooling import adaptive_pool, global_pool, pool
from .radix_net import radix_net
from .random_dag import random_dag
from .random_geometric import random_geometric
from .ring_lattice import ring_lattice
from .scale_free import scale_free
from .small_world import small_world
from .stochastic_block import stochastic_block
from .torus_lattice import torus_lattice

__all__ = [
    "SizedNetworks",
    "adaptive_pool",
    "box",
    "connectome",
    "dilated",
    "disk",
    "fields",
    "fovea",
    "from_graph",
    "fully_convolutional",
    "global_pool",
    "layered",
    "null_model",
    "pool",
    "radix_net",
    "random_dag",
    "random_geometric",
    "ring",
    "ring_lattice",
    "scale_free",
    "small_world",
    "stochastic_block",
    "subset",
    "torus_lattice",
]
