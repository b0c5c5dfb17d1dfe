"""The claims, a module each; a new one is found by being here."""

import pkgutil

CLAIMS = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))

__all__ = ["CLAIMS"]
