"""Every error that neurograph raises on purpose. Each message names the thing, the value and the cure."""


class NeurographError(Exception):
    """Base of all errors raised by neurograph."""

    def __str__(self) -> str:
        # KeyError quotes its message; ours are sentences, so they print as sentences.
        return str(self.args[0]) if self.args else ""


class InvalidValueError(NeurographError, ValueError):
    """An argument has a value, shape or type that the call cannot use."""


class UnknownNameError(InvalidValueError):
    """A name (activation, loss, initializer, ...) is not known; the message lists those that are."""


class UnknownNeuronError(NeurographError, KeyError):
    """An id was never given to a neuron of this network."""


class StaleError(NeurographError, KeyError):
    """A view of a neuron or connection that has been removed."""


class CycleError(NeurographError, ValueError):
    """Connections without delay would close a cycle."""


class DuplicateConnectionError(NeurographError, ValueError):
    """A connection with the same source, target and delay exists already."""


class NotSupportedError(NeurographError, NotImplementedError):
    """The request is legal, but nothing here can run it yet."""


class OutOfMemoryError(NeurographError, MemoryError):
    """A pass needs more memory than there is; the message says how much, and how to need less."""


class DivergedError(NeurographError, ArithmeticError):
    """The loss became NaN or infinite."""


class FileFormatError(NeurographError, ValueError):
    """A file is not a neurograph file, or it was truncated or altered."""


class MissingDependencyError(NeurographError, ImportError):
    """An optional library is not installed; the message says what to install."""


class EmptyLayerWarning(UserWarning):
    """Pruning has taken the last connection between two layers; the message names them."""


class NotSettledError(NeurographError, ArithmeticError):
    """A network with loops did not come to rest within the steps allowed."""
