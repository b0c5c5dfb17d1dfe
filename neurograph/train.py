"""Trainer: epochs of mini-batches, an update and some rewiring after each, and a history of how it went."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .callbacks import Callback, ProgressBar
from .checks import require
from .errors import DivergedError, InvalidValueError
from .functions import arrays, losses
from .optim import Adam, Optimizer
from .samples import DeviceRows, unwrapped
from .sequences import compared

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .network import Network

#: Losses for which an accuracy means something.
CLASSIFICATION = ("cross_entropy", "binary_cross_entropy")
# Outputs that the check of Y makes up at a time.
_CHECK_ENTRIES = 2**22


class History(dict[str, list]):
    """What a fit recorded: a list for each figure, one entry an epoch.

    ``loss`` and, for a classification loss, ``accuracy`` are means over the epoch's training batches, measured while
    the weights moved. ``val_loss`` and ``val_accuracy`` are measured at the end of the epoch, if there are validation
    data; ``n_connections`` is counted there. ``seconds`` is the time of the whole epoch, validation included.

    Attributes
    ----------
    interrupted : bool
        Ctrl-C ended the training. If that was in the midst of an epoch, the last entries are of its steps so far, and
        the ``val_`` figures NaN.

    Examples
    --------
    >>> history = History(loss=[0.7, 0.4])
    >>> history["loss"][-1], history.interrupted
    (0.4, False)
    """

    interrupted: bool = False

    def add(self, record: dict[str, float]) -> None:
        """Append one epoch; a figure that `record` lacks becomes NaN."""
        for name, values in self.items():
            values.append(record.get(name, math.nan))


class Trainer:
    """Trains a network: mini-batches, optimizer steps, rewiring, callbacks.

    Parameters
    ----------
    net : Network
        Or `topologies.SizedNetworks`, and X is a list of images then.
    loss : str or callable
        A name ("mse", "mae", "huber", "cross_entropy", "binary_cross_entropy"), a function
        ``(outputs, Y) -> (value, gradient)``, or a `Distillation`.
    optimizer : Optimizer, optional
        `Adam` with its defaults unless given. Its state lives in the network.
    rewire : object with a method ``step(net, step)``, or sequence of them, optional
        Called after every update, with the number of updates that this trainer has made. Where they have the methods of
        a `sparsity.Recipe` that come earlier in a step, these are called as well.
    callbacks : iterable of Callback
    truncate, recompute : optional
        Of back-propagation through time, as in ``net.backward``.
    seed : int, optional
        Of the order of the samples; without it the order comes from ``net.rng``.

    Attributes
    ----------
    steps, epoch : int
        Updates made and epochs finished by this trainer, over all its fits.
    last_epoch, steps_per_epoch : int
        `epoch` at the end of the present fit if nothing stops it, and the mini-batches of one epoch.
    recorded : tuple of str
        Names of the figures that the present fit records.
    stop : bool
        A callback sets it to end the training.

    Raises
    ------
    InvalidValueError, UnknownNameError
        An argument that cannot be used.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([2, 4, 1], activation="tanh", seed=0)
    >>> X, Y = [[0, 0], [0, 1], [1, 0], [1, 1]], [[0], [1], [1], [0]]
    >>> trainer = ng.Trainer(net, loss="mse", optimizer=ng.optim.Adam(lr=0.05))
    >>> history = trainer.fit(X, Y, epochs=300, progress=False)
    >>> history["loss"][-1] < 0.01 < history["loss"][0]
    True
    """

    def __init__(
        self,
        net: Network,
        loss: str | Callable[..., Any] = "cross_entropy",
        optimizer: Optimizer | None = None,
        rewire: Any = None,
        callbacks: Iterable[Callback] = (),
        seed: int | None = None,
        truncate: int | None = None,
        recompute: bool | int = False,
    ):
        self._measure = losses.get(loss)
        self.net, self.loss = net, loss
        self.optimizer = Adam() if optimizer is None else optimizer
        self.rewire = rewire
        self._through_time = {"truncate": truncate, "recompute": recompute}
        self.callbacks = list(callbacks)
        recipes = rewire if isinstance(rewire, list | tuple) else [rewire]
        for name, value in [("optimizer", self.optimizer), *(("rewire", recipe) for recipe in recipes)]:
            if isinstance(value, type) or (value is not None and not callable(getattr(value, "step", None))):
                raise InvalidValueError(f"{name} must be an object with a method step, not {value!r}")
        self._hooks = {
            name: [hook for recipe in recipes if (hook := getattr(recipe, name, None)) is not None]
            for name in ("before_backward", "before_update", "step")
        }
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise InvalidValueError(f"{callback!r} is not a callback; derive it from ng.callbacks.Callback")
        try:
            self._rng = None if seed is None else np.random.default_rng(seed)
        except (TypeError, ValueError) as error:
            raise InvalidValueError(f"seed must be a whole number, at least 0, not {seed!r}") from error
        self.steps = self.epoch = 0
        self.last_epoch = self.steps_per_epoch = 0
        self.recorded: tuple[str, ...] = ()
        self.stop = False

    def fit(
        self,
        X: ArrayLike,
        Y: ArrayLike,
        epochs: int = 1,
        batch_size: int = 32,
        validation_data: tuple[ArrayLike, ...] | None = None,
        shuffle: bool = True,
        progress: bool = True,
        mask: ArrayLike | None = None,
    ) -> History:
        """Train for some epochs; a further call goes on from there.

        Ctrl-C ends the training after the step in progress, so that the network is whole, and the history so far is
        returned. A second Ctrl-C does not wait.

        Parameters
        ----------
        X : array, shape (samples, n_inputs) or (samples, time, n_inputs), or SciPy sparse matrix (samples, n_inputs)
            Of NumPy or CuPy: what is on a GPU stays there if the network runs on it.
        Y : array
            (samples, n_outputs), or integer labels (samples,) for "cross_entropy"; for sequences as ``net.backward``
            takes it.
        epochs : int
        batch_size : int
            Samples of a mini-batch; the last of an epoch may be smaller.
        validation_data : (X, Y) or (X, Y, mask), optional
            Evaluated at the end of every epoch.
        shuffle : bool
            Draw a new order of the samples for every epoch.
        progress : bool
            Show a bar and a line for every epoch.
        mask : array of bool, shape (samples, time), optional
            Which steps of the sequences count.

        Returns
        -------
        History
            Of this call.

        Raises
        ------
        InvalidValueError
            Data or numbers that cannot be used; nothing has changed then.
        DivergedError
            The loss became NaN or infinite. The weights are those before the update that this batch would have made.
        """
        epochs, batch_size = _whole(epochs, "epochs", 0), _whole(batch_size, "batch_size", 1)
        data = self._data(X, Y, mask, "")
        validation = None if validation_data is None else self._data(*_parts(validation_data), "validation ")
        kinds = ("loss", "accuracy") if self._classifies else ("loss",)
        names = [*kinds, *(f"val_{kind}" for kind in kinds if validation), "n_connections", "seconds"]
        history = History({name: [] for name in names})
        self.recorded, self.stop = tuple(names), False
        self.last_epoch, self.steps_per_epoch = self.epoch + epochs, -(-len(data.X) // batch_size)
        running: list[Callback] = []
        with _InterruptAfterStep() as interrupt:
            try:
                if progress:
                    self._start(ProgressBar(), running)
                with np.errstate(all="ignore"):
                    self.net.predict(data.X[:1])  # refuses whatever else keeps it from running, before any change
                for callback in self.callbacks:
                    self._start(callback, running)
                while self.epoch < self.last_epoch and not self.stop:
                    self._run_epoch(data, batch_size, validation, shuffle, running, history, interrupt)
            except KeyboardInterrupt:
                history.interrupted = True
                print(f"interrupted after step {self.steps}; the network keeps what it has learned", file=sys.stderr)
            finally:
                for callback in running:
                    callback.on_fit_end(self, history)
        return history

    def evaluate(
        self, X: ArrayLike, Y: ArrayLike, batch_size: int | None = None, mask: ArrayLike | None = None
    ) -> dict[str, float]:
        """Return the loss, and for a classification loss the accuracy.

        Parameters
        ----------
        X : array, shape (samples, n_inputs) or (samples, time, n_inputs), or SciPy sparse matrix (samples, n_inputs)
        Y : array
            As for `fit`.
        batch_size : int, optional
            Samples that run together; it changes no result.
        mask : array of bool, shape (samples, time), optional
            Which steps of the sequences count.

        Returns
        -------
        dict
            ``{"loss": ...}`` or ``{"loss": ..., "accuracy": ...}``.

        Raises
        ------
        InvalidValueError
            Data that cannot be used.
        """
        return self._evaluate(self._data(X, Y, mask, ""), batch_size)

    @property
    def _classifies(self) -> bool:
        return isinstance(self.loss, losses.PreparedLoss) or any(
            self._measure is losses.LOSSES[name] for name in CLASSIFICATION
        )

    def _start(self, callback: Callback, running: list[Callback]) -> None:
        callback.on_fit_start(self)
        running.append(callback)

    def _evaluate(self, data: _Data, batch_size: int | None = None) -> dict[str, float]:
        with np.errstate(all="ignore"):
            outputs, Y = self.net.predict(data.X, batch_size=batch_size), unwrapped(data.Y)
            if outputs.ndim == 3:
                sample, step, Y = compared(outputs.shape, Y, data.mask, losses.takes_labels(self._measure))
                outputs = arrays.to_host(outputs)[sample, step]
            result = {"loss": float(self._measure(outputs, Y)[0])}
        if self._classifies:
            result["accuracy"] = losses.accuracy(outputs, Y, self._measure)
        return result

    def _run_epoch(
        self,
        data: _Data,
        batch_size: int,
        validation: _Data | None,
        shuffle: bool,
        callbacks: list[Callback],
        history: History,
        interrupt: _InterruptAfterStep,
    ) -> None:
        sums = _Sums(started=time.perf_counter())
        rng = self.net.rng if self._rng is None else self._rng
        order = data.numbers(rng.permutation(len(data.X)) if shuffle else np.arange(len(data.X)))
        try:
            for start in range(0, len(order), batch_size):
                loss = self._step(data.of(order[start : start + batch_size]), sums)
                for callback in callbacks:
                    callback.on_step_end(self, self.steps, loss)
                interrupt.check()
                if self.stop:
                    break
            record = sums.means(self._classifies)
            if validation is not None:
                record |= {f"val_{name}": value for name, value in self._evaluate(validation).items()}
        except KeyboardInterrupt:
            if sums.samples:
                history.add(self._with_footer(sums.means(self._classifies), sums))
            raise
        record = self._with_footer(record, sums)
        history.add(record)
        self.epoch += 1
        for callback in callbacks:
            callback.on_epoch_end(self, self.epoch, record)
        interrupt.check()

    def _step(self, batch: _Data, sums: _Sums) -> float:
        for hook in self._hooks["before_backward"]:
            hook(self.net, self.steps + 1)
        through_time: dict[str, Any] = {"mask": batch.mask, **self._through_time} if batch.X.ndim == 3 else {}
        with np.errstate(all="ignore"):  # an overflow shows in the loss
            loss = self.net.backward(batch.X, batch.Y, self.loss, **through_time)
        if not math.isfinite(loss):
            raise self._diverged(loss)
        outputs, targets = self.net.last_outputs, self.net.last_targets
        right = (
            losses.accuracy(outputs, targets, self._measure) if self._classifies and outputs is not None else math.nan
        )
        for hook in self._hooks["before_update"]:
            hook(self.net, self.steps + 1)
        with np.errstate(all="ignore"):  # what diverges is reported by its loss, not by warnings
            self.optimizer.step(self.net)
        self.steps += 1
        sums.samples += len(batch.X)
        sums.loss += loss * len(batch.X)
        sums.accuracy += right * len(batch.X)
        for hook in self._hooks["step"]:
            hook(self.net, self.steps)
        return loss

    def _with_footer(self, record: dict[str, float], sums: _Sums) -> dict[str, float]:
        return record | {"n_connections": self.net.n_connections, "seconds": time.perf_counter() - sums.started}

    def _diverged(self, loss: float) -> DivergedError:
        offender = self.net.first_nonfinite()
        if offender is None:
            where = (
                "Every neuron's output is finite: look at the loss function, at Y, and at how large the outputs are."
            )
        else:
            neuron, group = offender
            member = f" (group {group!r})" if group else ""
            where = f"The first neuron, in schedule order, whose output is not finite is neuron {neuron}{member}."
        return DivergedError(
            f"the loss became {loss} in epoch {self.epoch + 1}, step {self.steps + 1}. {where} This step's update was "
            "not made. Lower the learning rate, scale the inputs to about -1..1, or start from smaller weights."
        )

    def _data(self, X: Any, Y: Any, mask: Any, which: str) -> _Data:
        """X, Y and mask as arrays that the network and the loss can use for every row."""
        try:
            Y = np.asarray(arrays.to_host(Y))
        except ValueError as error:
            raise InvalidValueError(f"{which}Y is not an array of numbers: {error}") from error
        try:
            given, X = X, self.net.check_inputs(X)
            if Y.ndim == 0 or len(Y) != len(X):
                raise InvalidValueError(f"X has {len(X)} rows and Y has shape {Y.shape}; give one row of each a sample")
            if isinstance(self.loss, losses.PreparedLoss):
                Y = self.loss.targets(arrays.to_host(given), Y, self.net.n_outputs)
            if X.ndim == 3:
                shape = (len(X), X.shape[1], self.net.n_outputs)
                self._check_targets(compared(shape, Y, mask, losses.takes_labels(self._measure)).targets)
            else:
                require(mask is None, "a mask is for sequences; give X a time axis, or leave the mask out")
                self._check_targets(Y)
        except InvalidValueError as error:
            if which:
                raise type(error)(f"{which}data: {error}") from error
            raise
        if isinstance(X, DeviceRows) and X.ndim == 2:
            Y = X.beside(Y)
        return _Data(X, Y, None if mask is None else np.asarray(arrays.to_host(mask)))

    def _check_targets(self, Y: np.ndarray) -> None:
        """Let the loss refuse Y, all of it, before anything is trained on the first rows."""
        n_outputs = self.net.n_outputs
        if n_outputs == 0 or not (
            self._measure in losses.LOSSES.values() or isinstance(self.loss, losses.PreparedLoss)
        ):
            return
        rows = max(1, _CHECK_ENTRIES // n_outputs)
        for start in range(0, len(Y), rows):
            part = Y[start : start + rows]
            try:
                self._measure(np.zeros((len(part), n_outputs), self.net.dtype), part)
            except InvalidValueError as error:
                if start:
                    raise type(error)(f"{error} (rows counted from row {start} of Y)") from error
                raise


class _Data(NamedTuple):
    """Samples with what they are compared with, and for sequences which steps count."""

    X: Any
    Y: Any
    mask: np.ndarray | None

    def numbers(self, samples: np.ndarray) -> Any:
        """Numbers of samples where the samples are: on the device they go there once an epoch."""
        return arrays.to_device(samples) if isinstance(self.Y, DeviceRows) else samples

    def of(self, samples: Any) -> _Data:
        """Some of the samples."""
        return _Data(self.X[samples], self.Y[samples], None if self.mask is None else self.mask[samples])


@dataclass
class _Sums:
    """Running sums over the samples of an epoch."""

    started: float
    samples: int = 0
    loss: float = 0.0
    accuracy: float = 0.0

    def means(self, classifies: bool) -> dict[str, float]:
        record = {"loss": self.loss / self.samples}
        if classifies:
            record["accuracy"] = self.accuracy / self.samples
        return record


class _InterruptAfterStep:
    """Hold Ctrl-C back until `check` is called, so that no step, and no edit of the network, is left half done.

    A second Ctrl-C gets through at once. Outside the main thread, or where someone else handles the signal, nothing is
    held back.
    """

    def __init__(self) -> None:
        self.pending = False
        self._ours = False

    def __enter__(self) -> _InterruptAfterStep:
        if threading.current_thread() is threading.main_thread():
            self._ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._ours:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, *_: object) -> None:
        if self.pending:
            raise KeyboardInterrupt
        self.pending = True

    def check(self) -> None:
        """Raise the KeyboardInterrupt that was held back."""
        if self.pending:
            raise KeyboardInterrupt


def _whole(value: Any, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InvalidValueError(f"{name} must be a whole number, at least {least}, not {value!r}")
    return int(value)


def _parts(data: Any) -> tuple[Any, Any, Any]:
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise InvalidValueError(f"validation_data must be a pair (X, Y), or (X, Y, mask), not {type(data).__name__}")
    return data[0], data[1], data[2] if len(data) == 3 else None
