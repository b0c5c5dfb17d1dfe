"""Other people's libraries: imported when they are used, missed with the command that installs them."""

import importlib
from types import ModuleType

from ..errors import MissingDependencyError


def library(module: str, extra: str) -> ModuleType:
    """Import a module of an optional library.

    Parameters
    ----------
    module : str
        Dotted name, such as "sklearn.neural_network".
    extra : str
        The extra of this package that installs it.

    Raises
    ------
    MissingDependencyError
        If the library is not installed; the message says what to install.

    Examples
    --------
    >>> library("scipy.sparse", "test").__name__
    'scipy.sparse'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        cure = f'pip install "neurograph[{extra}]"'
        raise MissingDependencyError(f"{name} cannot be imported ({error}): {cure}") from error
