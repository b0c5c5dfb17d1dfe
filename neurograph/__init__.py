"""neurograph: every neuron an object, any wiring, single connections cut and grown while it trains, at full speed.

A `Network` is any graph of neurons and connections (WHAT). A scheduler partitions it into dependency-free batches
(WHEN), these are laid out as one sparse matrix (HOW), and a backend runs it (RUN).
"""

from typing import Any as _Any

from . import callbacks, convert, datasets, functions, optim, plot, sparsity, topologies
from .backends import available_backends
from .distillation import Distillation
from .errors import (
    CycleError,
    DivergedError,
    DuplicateConnectionError,
    EmptyLayerWarning,
    FileFormatError,
    InvalidValueError,
    MissingDependencyError,
    NeurographError,
    NotSettledError,
    NotSupportedError,
    StaleError,
    UnknownNameError,
    UnknownNeuronError,
)
from .graph.views import Connection, Connections, Group, Neuron
from .network import Network, load
from .plan import Plan
from .quantized import QuantizedNetwork
from .schedule import Schedule
from .sequences import State
from .train import History, Trainer
from .union import union

__version__ = "0.1.0"

__all__ = [
    "Connection",
    "Connections",
    "CycleError",
    "Distillation",
    "DivergedError",
    "DuplicateConnectionError",
    "EmptyLayerWarning",
    "FileFormatError",
    "Group",
    "History",
    "InvalidValueError",
    "MissingDependencyError",
    "Network",
    "NeurographError",
    "Neuron",
    "NotSettledError",
    "NotSupportedError",
    "Plan",
    "QuantizedNetwork",
    "Schedule",
    "StaleError",
    "State",
    "Trainer",
    "UnknownNameError",
    "UnknownNeuronError",
    "available_backends",
    "callbacks",
    "datasets",
    "from_edges",
    "from_graphml",
    "from_neat",
    "from_networkx",
    "from_onnx",
    "from_scipy",
    "from_sklearn",
    "from_torch",
    "functions",
    "load",
    "optim",
    "plot",
    "sparsity",
    "to_edges",
    "to_graphml",
    "to_networkx",
    "to_onnx",
    "to_scipy",
    "to_torch",
    "topologies",
    "union",
]


def __getattr__(name: str) -> _Any:
    if name not in convert.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    bridge = globals()[name] = getattr(convert, name)
    return bridge
