"""What can happen between the steps of a `Trainer`: stop early, write a log, save the network, show progress."""

from __future__ import annotations

import csv
import math
import os
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InvalidValueError

if TYPE_CHECKING:
    from .train import History, Trainer


class Callback:
    """Base of all callbacks; every method does nothing until a subclass fills it.

    A callback may read and edit ``trainer.net`` and may set ``trainer.stop = True``, which ends training after the step
    or epoch in progress. `Trainer` lists what else it can read.

    Examples
    --------
    >>> class Halve(Callback):
    ...     def on_epoch_end(self, trainer, epoch, record):
    ...         trainer.stop = record["loss"] < 0.5
    """

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first step; the data are checked already."""

    def on_step_end(self, trainer: Trainer, step: int, loss: float) -> None:
        """After an update and its rewiring; `step` counts all updates of this trainer, 1 for the first."""

    def on_epoch_end(self, trainer: Trainer, epoch: int, record: dict[str, float]) -> None:
        """After an epoch, `record` is its entry of the history; `epoch` counts all of this trainer, 1 for the first."""

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """At the end, also of a training that was interrupted or failed, if `on_fit_start` came to its end."""


class EarlyStopping(Callback):
    """Stop once a figure has not improved for some epochs.

    Parameters
    ----------
    monitor : str
        A column of the history, such as "val_loss" or "accuracy".
    patience : int
        Epochs in a row without improvement after which to stop, at least 1.
    min_delta : float
        Least change that counts as an improvement.
    mode : {"auto", "min", "max"}
        Whether less or more is better; auto: more for an accuracy, less for all else.

    Raises
    ------
    InvalidValueError
        A bad argument, or, when training starts, a `monitor` that is not recorded.

    Examples
    --------
    >>> EarlyStopping("val_accuracy", patience=3).mode
    'max'
    """

    def __init__(self, monitor: str = "val_loss", patience: int = 5, min_delta: float = 0.0, mode: str = "auto"):
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise InvalidValueError(
                f"EarlyStopping: patience must be a whole number of epochs, at least 1, not {patience!r}"
            )
        if not isinstance(min_delta, int | float) or not 0 <= min_delta < math.inf:
            raise InvalidValueError(f"EarlyStopping: min_delta must be a finite number, at least 0, not {min_delta!r}")
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.mode = _direction(mode, monitor)
        self.best, self.waited = math.nan, 0

    def on_fit_start(self, trainer: Trainer) -> None:
        """Forget the best figure of an earlier fit."""
        _require_recorded(self.monitor, trainer)
        self.best, self.waited = math.nan, 0

    def on_epoch_end(self, trainer: Trainer, epoch: int, record: dict[str, float]) -> None:
        """Compare with the best figure so far."""
        if _improved(record[self.monitor], self.best, self.mode, self.min_delta):
            self.best, self.waited = record[self.monitor], 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            trainer.stop = True


class CSVLog(Callback):
    """Write one line an epoch to a CSV file: the epoch's number, then the columns of the history.

    The file is started anew by the first fit and continued by later ones. It is closed between epochs, so that it can
    be read while training goes on.

    Parameters
    ----------
    path : path

    Raises
    ------
    OSError
        When training starts: the file cannot be written.

    Examples
    --------
    >>> log = CSVLog("training.csv")
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._columns: list[str] = []

    def on_fit_start(self, trainer: Trainer) -> None:
        """Write the header; a later fit that records more, such as validation, gets its columns added."""
        missing = [name for name in ("epoch", *trainer.recorded) if name not in self._columns]
        if not missing:
            return
        rows = self._read() if self._columns else []
        columns = self._columns + missing
        with self.path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
        self._columns = columns

    def on_epoch_end(self, trainer: Trainer, epoch: int, record: dict[str, float]) -> None:
        """Add a line."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns, restval="").writerow({"epoch": epoch, **record})

    def _read(self) -> list[dict[str, Any]]:
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


class Checkpoint(Callback):
    """Save the network at the end of epochs.

    Parameters
    ----------
    path : path
        Where to; ``{epoch}`` in it becomes the epoch's number (``{epoch:03d}`` with leading zeros).
    monitor : str, optional
        Save only when this column of the history is better than at all earlier epochs.
    every : int
        Look only at every so many epochs.
    mode : {"auto", "min", "max"}
        As for `EarlyStopping`.

    Raises
    ------
    InvalidValueError
        A bad argument, or, when training starts, a `monitor` that is not recorded.

    Examples
    --------
    >>> best = Checkpoint("best.ng", monitor="val_accuracy")
    >>> all_of_them = Checkpoint("net-{epoch:03d}.ng", every=10)
    """

    def __init__(self, path: str | os.PathLike, monitor: str | None = None, every: int = 1, mode: str = "auto"):
        self.path = os.fspath(path)
        try:
            self.path.format(epoch=1)
        except (LookupError, ValueError) as error:
            raise InvalidValueError(
                f"Checkpoint: path {self.path!r} may hold {{epoch}} or {{epoch:03d}} and no other braces"
            ) from error
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise InvalidValueError(f"Checkpoint: every must be a whole number of epochs, at least 1, not {every!r}")
        self.monitor, self.every = monitor, every
        self.mode = _direction(mode, monitor or "")
        self.best = math.nan

    def on_fit_start(self, trainer: Trainer) -> None:
        """Check that the figure to compare will be there."""
        if self.monitor is not None:
            _require_recorded(self.monitor, trainer)

    def on_epoch_end(self, trainer: Trainer, epoch: int, record: dict[str, float]) -> None:
        """Save if it is time and the figure is the best so far."""
        if epoch % self.every:
            return
        if self.monitor is not None:
            if not _improved(record[self.monitor], self.best, self.mode):
                return
            self.best = record[self.monitor]
        trainer.net.save(self.path.format(epoch=epoch))


class ProgressBar(Callback):
    """A bar over the steps, and a line for every epoch; ``fit(progress=True)`` adds one.

    Epochs that last less than `interval` seconds share a line.

    Parameters
    ----------
    interval : float
        Least seconds between two lines.

    Examples
    --------
    >>> bar = ProgressBar(interval=1.0)
    """

    def __init__(self, interval: float = 0.2):
        self.interval = interval
        self._bar: Any = None
        self._unwritten = ""
        self._written_at = -math.inf

    def on_fit_start(self, trainer: Trainer) -> None:
        """Open the bar."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a notebook without ipywidgets gets the text bar; no need to complain
            from tqdm.auto import tqdm
        total = (trainer.last_epoch - trainer.epoch) * trainer.steps_per_epoch
        on_screen = sys.stderr is not None and sys.stderr.isatty()
        # A log file keeps every state of the bar, so it gets few.
        self._bar = tqdm(total=total, unit="step", dynamic_ncols=True, mininterval=0.1 if on_screen else 2.0)
        # The first step takes seconds on a machine where it is the very first.
        self._bar.set_description("compiling, or loading compiled kernels")

    def on_step_end(self, trainer: Trainer, step: int, loss: float) -> None:
        """Move the bar."""
        self._bar.set_description(f"epoch {trainer.epoch + 1}/{trainer.last_epoch}", refresh=False)
        self._bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        self._bar.update()

    def on_epoch_end(self, trainer: Trainer, epoch: int, record: dict[str, float]) -> None:
        """Write the epoch's line."""
        figures = "  ".join(f"{name} {_figure(name, value)}" for name, value in record.items())
        self._unwritten = f"epoch {epoch}/{trainer.last_epoch}  {figures}"
        if time.monotonic() - self._written_at >= self.interval:
            self._write()

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """Write the last line if it is still due, and close the bar."""
        if self._bar is not None:
            if self._unwritten:
                self._write()
            self._bar.close()
            self._bar = None

    def _write(self) -> None:
        self._bar.write(self._unwritten)
        self._unwritten = ""
        self._written_at = time.monotonic()


def _figure(name: str, value: float) -> str:
    if name == "n_connections":
        return f"{value:,}"
    return f"{value:.1f}" if name == "seconds" else f"{value:.4f}"


def _direction(mode: str, monitor: str) -> str:
    if mode not in ("auto", "min", "max"):
        raise InvalidValueError(f'mode must be "auto", "min" or "max", not {mode!r}')
    if mode == "auto":
        return "max" if "accuracy" in monitor else "min"
    return mode


def _improved(value: float, best: float, mode: str, min_delta: float = 0.0) -> bool:
    """Whether a figure is better than the best; NaN is better than nothing, as `best` it stands for none so far."""
    if math.isnan(value):
        return False
    if math.isnan(best):
        return True
    return value > best + min_delta if mode == "max" else value < best - min_delta


def _require_recorded(monitor: str, trainer: Trainer) -> None:
    if monitor not in trainer.recorded:
        hint = "; give fit validation_data" if monitor.startswith("val_") else ""
        raise InvalidValueError(f"{monitor!r} is not recorded{hint}; recorded are {', '.join(trainer.recorded)}")
