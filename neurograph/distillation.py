"""Distillation: a network learns from labels and from what a teacher answers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from . import checks
from .errors import InvalidValueError
from .functions import arrays, losses

__all__ = ["Distillation"]


@dataclass(frozen=True, eq=False)
class Distillation(losses.PreparedLoss):
    """A loss that mixes the labels with the answers of a teacher, softened by a temperature.

    Hinton, Vinyals & Dean (2015), "Distilling the knowledge in a neural network", arXiv 1503.02531, section 2. With the
    logits ``z`` of the student and ``v`` of the teacher the loss of a sample is ::

        alpha * T**2 * KL(softmax(v / T) || softmax(z / T)) + (1 - alpha) * cross_entropy(z, label)

    and its mean over the batch counts; the factor ``T**2`` keeps the sizes of both gradients when T changes. Hand it to
    a `Trainer` as ``loss=``: the teacher then answers once for all samples, before the first step, and accuracies are
    against the labels. By hand, make the targets first: ``Y = distill.targets(X, labels)``, then
    ``net.backward(X[batch], Y[batch], distill)``. Such targets are good for `Trainer.fit` too, which spares the teacher
    a second time.

    Parameters
    ----------
    teacher : callable, PyTorch module or scikit-learn classifier
        Gives the logits (samples, n_outputs) for X, as the networks here do. A PyTorch module gets X as a tensor of its
        parameters' dtype on their device, and answers in evaluation mode and without gradients; afterwards its modes
        are as before. A model with `predict_proba` gives probabilities: their logarithms are taken for logits, which
        have the same softmax, and a probability below 1e-12 counts as 1e-12. Its classes must be 0, 1, 2, ...
    temperature : float
        T, above 0: the higher, the more the teacher's small answers count.
    alpha : float
        Weight of the teacher, 0 to 1; the labels have the rest.
    batch_size : int
        Samples that the teacher answers at a time.

    Raises
    ------
    InvalidValueError
        The teacher cannot be asked, or a number is out of range.

    Examples
    --------
    >>> import neurograph as ng
    >>> X, y, X_test, y_test = ng.datasets.load_digits()
    >>> teacher = ng.topologies.layered([64, 100, 10], seed=0)
    >>> _ = ng.Trainer(teacher).fit(X, y, epochs=5, progress=False)
    >>> student = ng.topologies.layered([64, 20, 10], density=0.5, seed=1)
    >>> trainer = ng.Trainer(student, loss=ng.Distillation(teacher, temperature=4.0, alpha=0.9))
    >>> history = trainer.fit(X, y, epochs=5, progress=False, validation_data=(X_test, y_test))
    >>> history["loss"][-1] < history["loss"][0], "val_accuracy" in history
    (True, True)
    """

    teacher: Any
    temperature: float = 4.0
    alpha: float = 0.9
    batch_size: int = 1024

    def __post_init__(self) -> None:
        if isinstance(self.teacher, type) or not (
            callable(self.teacher) or callable(getattr(self.teacher, "predict_proba", None))
        ):
            raise InvalidValueError(
                f"teacher is {self.teacher!r}; give a network, a function X -> logits, a PyTorch module, or a "
                "scikit-learn classifier with predict_proba"
            )
        number = isinstance(self.temperature, int | float | np.number) and not isinstance(self.temperature, bool)
        if not number or not (isfinite(self.temperature) and self.temperature > 0):
            raise InvalidValueError(f"temperature is {self.temperature!r}; give a number above 0")
        checks.fraction("alpha", self.alpha)
        checks.whole("batch_size", self.batch_size, 1)

    def logits(self, X: Any) -> np.ndarray:
        """Return the teacher's logits for X.

        Parameters
        ----------
        X : array or list
            As the teacher takes it; a SciPy sparse matrix stays one.

        Returns
        -------
        ndarray of float, shape (samples, n_outputs), or what the teacher makes of sequences

        Raises
        ------
        InvalidValueError
            The teacher did not return one row of finite numbers a sample.

        Examples
        --------
        >>> Distillation(lambda X: 2 * X).logits(np.array([[1.0, 3.0]]))
        array([[2., 6.]])
        """
        X = arrays.to_host(X)
        X = X.tocsr() if hasattr(X, "tocsr") else X if hasattr(X, "shape") else list(X)
        n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
        starts = range(0, n_samples, self.batch_size)
        with _answering(self.teacher) as ask:
            parts = [_numbers(ask(X[start : start + self.batch_size])) for start in starts]
        if not parts:
            raise InvalidValueError("X is empty, so there is nothing to ask the teacher; give at least one sample")
        try:
            logits = np.concatenate(parts)
        except ValueError as error:
            raise InvalidValueError(f"the teacher's answers differ in shape from batch to batch: {error}") from None
        if logits.ndim < 2 or len(logits) != n_samples:
            raise InvalidValueError(
                f"the teacher returned shape {logits.shape} for {n_samples} samples; needed is ({n_samples}, n_outputs)"
            )
        bad = np.argwhere(~np.isfinite(logits))
        if len(bad):
            raise InvalidValueError(
                f"the teacher's logit of sample {bad[0, 0]}, output {bad[0, -1]} is {logits[tuple(bad[0])]} "
                f"({len(bad)} such entries); check the teacher, and that X is scaled as it was trained"
            )
        return logits

    def targets(self, X: Any, Y: Any, n_outputs: int | None = None) -> np.ndarray:
        """Put the teacher's logits beside the labels.

        Parameters
        ----------
        X : array, list or SciPy sparse matrix
            As the teacher takes it.
        Y : array
            Integer labels (samples,) or probabilities (samples, n_outputs), for sequences with a time axis after the
            samples; or targets made before, which are returned as they are.
        n_outputs : int, optional
            Of the student: a teacher with another number is refused.

        Returns
        -------
        structured array, shape (samples,)
            With the fields "label" and "logits". It can be indexed and shuffled like any array.

        Raises
        ------
        InvalidValueError
            Teacher and student, or teacher and labels, do not fit together.

        Examples
        --------
        >>> Y = Distillation(lambda X: 2 * X).targets(np.array([[1.0, 3.0], [4.0, 2.0]]), [1, 0])
        >>> Y["label"], Y[1]["logits"]
        (array([1, 0]), array([8., 4.]))
        """
        labels = checks.regular(Y, "Y")
        if labels.dtype.names is not None:
            self._refuse_others(labels, n_outputs)
            return labels
        logits = self.logits(X)
        if n_outputs is not None and logits.shape[-1] != n_outputs:
            raise InvalidValueError(
                f"the teacher has {logits.shape[-1]} outputs and the student {n_outputs}: they have to be equal"
            )
        inner: tuple[int, ...] = ()
        if labels.shape == logits.shape:
            inner = logits.shape[-1:]
        elif labels.shape != logits.shape[:-1]:
            raise InvalidValueError(
                f"Y has shape {labels.shape} and the teacher's answers have {logits.shape}; needed are labels of shape "
                f"{logits.shape[:-1]} or probabilities of shape {logits.shape}"
            )
        kinds: list[Any] = [("label", labels.dtype, inner), ("logits", logits.dtype, logits.shape[-1:])]
        targets = np.empty(logits.shape[:-1], dtype=kinds)
        targets["label"], targets["logits"] = labels, logits
        return targets

    def __call__(self, outputs: np.ndarray, Y: Any) -> tuple[float, np.ndarray]:
        """Return the loss and its derivative by the outputs.

        Parameters
        ----------
        outputs : (batch, n_outputs) float array
            Logits of the student.
        Y : structured array, shape (batch,)
            Made by `targets`.

        Returns
        -------
        value : float
        gradient : array like `outputs`

        Raises
        ------
        InvalidValueError
            Y lacks the teacher's logits, or does not fit the outputs.

        Examples
        --------
        >>> distill = Distillation(lambda X: X, temperature=1.0, alpha=1.0)
        >>> Y = distill.targets(np.zeros((1, 2)), [0])
        >>> value, gradient = distill(np.log([[0.25, 0.75]]), Y)
        >>> round(value, 6), gradient
        (0.143841, array([[-0.25,  0.25]]))
        """
        outputs = arrays.to_host(outputs)
        targets = np.asarray(Y)
        self._refuse_others(targets, np.shape(outputs)[-1] if np.ndim(outputs) == 2 else None)
        hard, gradient = losses.cross_entropy(np.asarray(outputs, np.float64), targets["label"])
        soft, soft_gradient = _divergence(outputs, targets["logits"], self.temperature)
        value = self.alpha * soft + (1 - self.alpha) * hard
        gradient = self.alpha * soft_gradient + (1 - self.alpha) * gradient
        return float(value), gradient.astype(np.asarray(outputs).dtype)

    def _refuse_others(self, targets: np.ndarray, n_outputs: int | None) -> None:
        if targets.dtype.names != ("label", "logits"):
            raise InvalidValueError(
                "Y lacks the teacher's logits; make it by `Y = distill.targets(X, labels)`, or train by a Trainer, "
                "which does so"
            )
        known = targets.dtype["logits"].shape[0]
        if n_outputs is not None and known != n_outputs:
            raise InvalidValueError(
                f"the teacher has {known} outputs and the student {n_outputs}: they have to be equal"
            )


def _divergence(outputs: np.ndarray, logits: np.ndarray, temperature: float) -> tuple[float, np.ndarray]:
    """``T**2 * KL(teacher || student)`` of the softened answers, mean over the batch, and its gradient."""
    with np.errstate(over="ignore", invalid="ignore"):  # a diverged student shows in the value
        student, teacher = _log_softmax(outputs, temperature), _log_softmax(logits, temperature)
        wanted = np.exp(teacher)
        value = temperature**2 * np.sum(wanted * (teacher - student)) / len(outputs)
        return value, (np.exp(student) - wanted) * (temperature / len(outputs))


def _log_softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    scaled = np.asarray(logits, np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    scaled -= np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return scaled


def _numbers(answer: Any) -> np.ndarray:
    """What a teacher returned, maybe a tensor, as an array of floats."""
    if hasattr(answer, "detach"):
        answer = answer.detach().cpu()
        answer = answer.numpy() if "bfloat16" not in str(answer.dtype) else answer.float().numpy()
    logits = checks.regular(answer, "what the teacher returned")
    if logits.dtype.kind not in "fiub":
        raise InvalidValueError(f"the teacher returned {type(answer).__name__} of dtype {logits.dtype}, not numbers")
    return logits.astype(np.result_type(logits, np.float32), copy=False)


@contextmanager
def _answering(teacher: Any) -> Iterator[Any]:
    """A function from a batch of X to logits."""
    torch = sys.modules.get("torch")  # a module of PyTorch's can only come from where it is imported
    if torch is not None and isinstance(teacher, torch.nn.Module):
        modes = [(module, module.training) for module in teacher.modules()]
        like = next((p for p in (*teacher.parameters(), *teacher.buffers()) if p.is_floating_point()), torch.empty(0))

        def ask(X: Any) -> Any:
            X = X.toarray() if hasattr(X, "toarray") else X
            return teacher(torch.as_tensor(np.array(X) if not torch.is_tensor(X) else X).to(like))

        teacher.eval()
        try:
            with torch.no_grad():
                yield ask
        finally:
            for module, training in modes:
                module.training = training
    elif callable(getattr(teacher, "predict_proba", None)):
        known = getattr(teacher, "classes_", None)
        if known is not None and not np.array_equal(known, np.arange(len(known))):
            raise InvalidValueError(
                f"the teacher's classes are {np.asarray(known)[:5].tolist()}, ...; train it on labels 0, 1, 2, ... as "
                "the student's outputs are numbered"
            )
        yield lambda X: np.log(np.maximum(teacher.predict_proba(X), 1e-12))
    else:
        yield teacher
