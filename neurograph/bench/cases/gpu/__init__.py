"""Cases of ``--backend gpu``: what the GPU does, measured by its own clock."""

from . import ceilings, challenge, deep, edits, products, training

__all__ = ["ceilings", "challenge", "deep", "edits", "products", "training"]
