"""neurograph: every neuron an object, any wiring, single connections cut and grown while it trains, at full speed.

A `Network` is any graph of neurons and connections (WHAT). A scheduler partitions it into dependency-free batches
(WHEN), these are laid out as one sparse matrix (HOW), and a backend runs it (RUN).
"""

from . import callbacks
from . import datasets
from . import functions
from . import optim
from . import plot
from . import sparsity
from . import topologies
from .backends import available_backends
from .convert import from_networkx
from .convert import from_scipy
from .convert import to_networkx
from .convert import to_scipy
from .errors import CycleError
from .errors import DivergedError
from .errors import DuplicateConnectionError
from .errors import FileFormatError
from .errors import InvalidValueError
from .errors import MissingDependencyError
from .errors import NeurographError
from .errors import NotSupportedError
from .errors import StaleError
from .errors import UnknownNameError
from .errors import UnknownNeuronError
from .graph.views import Connection
from .graph.views import Connections
from .graph.views import Group
from .graph.views import Neuron
from .network import Network
from .network import load
from .plan import Plan
from .schedule import Schedule
from .train import History
from .train import Trainer

__version__ = "0.1.0"

__all__ = [
    "Connection",
    "Connections",
    "CycleError",
    "DivergedError",
    "DuplicateConnectionError",
    "FileFormatError",
    "Group",
    "History",
    "InvalidValueError",
    "MissingDependencyError",
    "Network",
    "NeurographError",
    "Neuron",
    "NotSupportedError",
    "Plan",
    "Schedule",
    "StaleError",
    "Trainer",
    "UnknownNameError",
    "UnknownNeuronError",
    "available_backends",
    "callbacks",
    "datasets",
    "from_networkx",
    "from_scipy",
    "functions",
    "load",
    "optim",
    "plot",
    "sparsity",
    "to_networkx",
    "to_scipy",
    "topologies",
]
