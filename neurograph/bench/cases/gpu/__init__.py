"""Cases of ``--backend gpu``: what the GPU does, measured by its own clock."""

from . import ceilings, challenge, edits, products, training

__all__ = ["ceilings", "challenge", "edits", "products", "training"]
