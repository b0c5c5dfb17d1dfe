"""Pictures with matplotlib. Each function draws on the axes that it is given, or on a new figure, and returns the axes.

Nothing here touches pyplot's global state: save a picture with ``ax.figure.savefig("picture.png")``.
"""

from ..plot.curves import history
from ..plot.distributions import degrees
from ..plot.matrices import adjacency
from ..plot.networks import network

__all__ = ["adjacency", "degrees", "history", "network"]
