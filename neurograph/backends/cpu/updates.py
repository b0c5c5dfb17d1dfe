"""The update rules compiled with numba; names, signatures and results as in `neurograph.backends.updates`.

A rule is three functions: a wrapper that fixes the scalars' dtype, a parallel loop over chunks, and a serial loop over
one chunk. The serial loop sees whole contiguous arrays, which LLVM vectorises; the same loop written on global indices
inside ``prange`` stays scalar. Chunks have one size whatever the number of threads, so the results do not depend on it.

A running mean whose gradient has become zero shrinks until it sticks at a denormal number (0.9 times the smallest one
rounds to itself), and arithmetic on those is several times slower for ever after. Such a mean is set to zero.
"""

from functools import partial

import numba
import numpy as np

from ...jit import njit
from ...locks import ALONE
from . import threads

# Sums may be reassociated and divisions turned into multiplications; NaN and infinity keep their meaning.
# error_model="numpy": a division that might raise ZeroDivisionError is not vectorised (Adam: 2.8 ms against 0.3 ms).
# All jit options and every function that these kernels call stay in this file: numba's cache sees no change elsewhere.
_jit = partial(
    njit,
    nogil=True,
    error_model="numpy",
    fastmath={"nsz", "arcp", "contract", "afn", "reassoc"},
)
_pjit = partial(_jit, parallel=True)

CHUNK = 16_384
# A parallel region costs as much as 10,000 parameters (3 microseconds), but milliseconds where other processes hold the
# cores. This many take 30 microseconds in one thread, next to nothing beside the pass that gave their gradients.
SERIAL_BELOW = 65_536


@_jit
def _descend(value, grad, lr, weight_decay):
    for i in range(value.size):
        value[i] -= lr * (grad[i] + weight_decay * value[i])


@_pjit
def _descend_chunks(value, grad, lr, weight_decay):
    for chunk in numba.prange((value.size + CHUNK - 1) // CHUNK):
        a, b = chunk * CHUNK, min((chunk + 1) * CHUNK, value.size)
        _descend(value[a:b], grad[a:b], lr, weight_decay)


@_jit
def _momentum(value, grad, velocity, lr, momentum, nesterov, weight_decay):
    tiny = np.finfo(value.dtype).tiny
    for i in range(value.size):
        g = grad[i] + weight_decay * value[i]
        u = momentum * velocity[i] + g
        velocity[i] = 0 if abs(u) < tiny else u
        value[i] -= lr * (g + momentum * u if nesterov else u)


@_pjit
def _momentum_chunks(value, grad, velocity, lr, momentum, nesterov, weight_decay):
    for chunk in numba.prange((value.size + CHUNK - 1) // CHUNK):
        a, b = chunk * CHUNK, min((chunk + 1) * CHUNK, value.size)
        _momentum(value[a:b], grad[a:b], velocity[a:b], lr, momentum, nesterov, weight_decay)


@_jit
def _adam(value, grad, m, v, rate, beta1, rest1, beta2, rest2, scale, eps, decay, shrink):
    tiny = np.finfo(value.dtype).tiny
    for i in range(value.size):
        x = value[i] * shrink
        g = grad[i] + decay * x
        mean = beta1 * m[i] + rest1 * g
        square = beta2 * v[i] + rest2 * g * g
        m[i] = 0 if abs(mean) < tiny else mean
        v[i] = square
        value[i] = x - rate * mean / (np.sqrt(square) * scale + eps)


@_pjit
def _adam_chunks(value, grad, m, v, rate, beta1, rest1, beta2, rest2, scale, eps, decay, shrink):
    for chunk in numba.prange((value.size + CHUNK - 1) // CHUNK):
        a, b = chunk * CHUNK, min((chunk + 1) * CHUNK, value.size)
        _adam(value[a:b], grad[a:b], m[a:b], v[a:b], rate, beta1, rest1, beta2, rest2, scale, eps, decay, shrink)


@_jit
def _rmsprop(value, grad, square, lr, alpha, rest, eps, weight_decay):
    for i in range(value.size):
        g = grad[i] + weight_decay * value[i]
        s = alpha * square[i] + rest * g * g
        square[i] = s
        value[i] -= lr * g / (np.sqrt(s) + eps)


@_pjit
def _rmsprop_chunks(value, grad, square, lr, alpha, rest, eps, weight_decay):
    for chunk in numba.prange((value.size + CHUNK - 1) // CHUNK):
        a, b = chunk * CHUNK, min((chunk + 1) * CHUNK, value.size)
        _rmsprop(value[a:b], grad[a:b], square[a:b], lr, alpha, rest, eps, weight_decay)


@_jit
def _rmsprop_momentum(value, grad, square, velocity, momentum, lr, alpha, rest, eps, weight_decay):
    tiny = np.finfo(value.dtype).tiny
    for i in range(value.size):
        g = grad[i] + weight_decay * value[i]
        s = alpha * square[i] + rest * g * g
        square[i] = s
        u = momentum * velocity[i] + g / (np.sqrt(s) + eps)
        velocity[i] = 0 if abs(u) < tiny else u
        value[i] -= lr * u


@_pjit
def _rmsprop_momentum_chunks(value, grad, square, velocity, momentum, lr, alpha, rest, eps, weight_decay):
    for chunk in numba.prange((value.size + CHUNK - 1) // CHUNK):
        a, b = chunk * CHUNK, min((chunk + 1) * CHUNK, value.size)
        _rmsprop_momentum(
            value[a:b], grad[a:b], square[a:b], velocity[a:b], momentum, lr, alpha, rest, eps, weight_decay
        )


def _run(serial, parallel, value, *rest):
    if value.size < SERIAL_BELOW or threads.count() == 1:
        serial(value, *rest)
    else:
        with ALONE:
            parallel(value, *rest)


def sgd(value, grad, velocity, lr, momentum, nesterov, weight_decay):
    """See `neurograph.backends.updates.sgd`."""
    real = value.dtype.type
    lr, momentum, weight_decay = real(lr), real(momentum), real(weight_decay)
    if velocity is None:
        _run(_descend, _descend_chunks, value, grad, lr, weight_decay)
    else:
        _run(_momentum, _momentum_chunks, value, grad, velocity, lr, momentum, bool(nesterov), weight_decay)


def adam(value, grad, m, v, step, lr, beta1, beta2, eps, weight_decay, decoupled):
    """See `neurograph.backends.updates.adam`."""
    # The scalars are combined in double precision first, as PyTorch does.
    rate, scale = lr / (1.0 - beta1**step), (1.0 - beta2**step) ** -0.5
    decay, shrink = (0.0, 1.0 - lr * weight_decay) if decoupled else (weight_decay, 1.0)
    scalars = (rate, beta1, 1.0 - beta1, beta2, 1.0 - beta2, scale, eps, decay, shrink)
    _run(_adam, _adam_chunks, value, grad, m, v, *map(value.dtype.type, scalars))


def rmsprop(value, grad, square, velocity, lr, alpha, eps, momentum, weight_decay):
    """See `neurograph.backends.updates.rmsprop`."""
    real = value.dtype.type
    scalars = tuple(map(real, (lr, alpha, 1.0 - alpha, eps, weight_decay)))
    if velocity is None:
        _run(_rmsprop, _rmsprop_chunks, value, grad, square, *scalars)
    else:
        _run(_rmsprop_momentum, _rmsprop_momentum_chunks, value, grad, square, velocity, real(momentum), *scalars)
