"""Ready methods from the literature, each in a file of its own, put together from the parts of this package."""

from .deep_r import DeepR
from .gradual import GradualMagnitude
from .rigl import RigL
from .set import SET
from .sparse_momentum import SparseMomentum

__all__ = ["SET", "DeepR", "GradualMagnitude", "RigL", "SparseMomentum"]
