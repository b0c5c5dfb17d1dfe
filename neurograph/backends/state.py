"""What a pass over some time steps hands to a pass over the steps that follow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class State(NamedTuple):
    """The end of a pass, by neuron slot.

    Attributes
    ----------
    outputs : ndarray, shape (batch, history, n_slots)
        Outputs in the last steps, as many as delays reach back.
    potentials : ndarray, shape (batch, n_slots), or None
        Potentials in the last step; None where nothing leaks.
    """

    outputs: np.ndarray
    potentials: np.ndarray | None
