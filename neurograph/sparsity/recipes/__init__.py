"""Ready methods from the literature, each in a file of its own, put together from the parts of this package."""

from .gradual import GradualMagnitude
from .lottery import LotteryTickets, Round
from .set import SET
from .sleep import Sleep

__all__ = ["SET", "GradualMagnitude", "LotteryTickets", "Round", "Sleep"]
