"""Bridges to other libraries' graphs, matrices, models and files; each imports its library when it is used."""

from importlib import import_module
from typing import Any

# Read when first asked for: `import neurograph` stays quick however many bridges there are.
_HOME = {
    "from_edges": "edges",
    "from_graphml": "graphml",
    "from_neat": "neat",
    "from_networkx": "networkx",
    "from_onnx": "onnx_import",
    "from_scipy": "scipy",
    "from_sklearn": "sklearn",
    "from_torch": "torch",
    "to_edges": "edges",
    "to_graphml": "graphml",
    "to_networkx": "networkx",
    "to_onnx": "onnx_export",
    "to_scipy": "scipy",
    "to_torch": "torch_export",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    bridge = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
    return bridge
