"""Checks of arguments that several methods share."""

from typing import Any

import numpy as np

from ..errors import InvalidValueError


def check_fraction(name: str, value: Any) -> None:
    """Raise InvalidValueError unless the argument `name` has a value from 0 to 1.

    Examples
    --------
    >>> check_fraction("fraction", 0.5)
    """
    if not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
        raise InvalidValueError(f"{name} is {value!r}; give a number from 0 to 1.")


def check_whole(name: str, value: Any, lowest: int) -> None:
    """Raise InvalidValueError unless the argument `name` is a whole number, at least `lowest`.

    Examples
    --------
    >>> check_whole("every", 200, 1)
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < lowest:
        raise InvalidValueError(f"{name} is {value!r}; give a whole number, {lowest} or more.")
