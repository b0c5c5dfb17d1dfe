"""The update rules in NumPy: the definition that every other backend's rules are compared with.

Each rule changes its arrays in place. They are 1-D, contiguous, of one length and one dtype (float32 or float64). The
formulas are PyTorch's (``torch.optim``), so that a learning rate found there means the same here. Nothing is checked:
the callers are `neurograph.optim` and tests.
"""

from math import sqrt

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


def sgd(
    value: FloatArray,
    grad: FloatArray,
    velocity: FloatArray | None,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> None:
    """Gradient descent, optionally with (Nesterov) momentum.

    With ``g = grad + weight_decay * value`` and ``velocity = momentum * velocity + g``, the value loses ``lr`` times
    ``g`` (no velocity), ``velocity`` (momentum) or ``g + momentum * velocity`` (Nesterov). Sutskever et al. 2013, "On
    the importance of initialization and momentum in deep learning", as PyTorch writes it.

    Parameters
    ----------
    value, grad : array, shape (n,)
        The parameters, changed in place, and their gradient, left alone.
    velocity : array of shape (n,), or None
        Running sum of gradients, changed in place. None: no momentum.
    lr, momentum, weight_decay : float
    nesterov : bool
        Read only when there is a velocity.

    Examples
    --------
    >>> import numpy as np
    >>> value, velocity = np.array([1.0]), np.array([2.0])
    >>> sgd(value, np.array([0.5]), velocity, lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)
    >>> velocity.round(6), value.round(6)
    (array([2.3]), array([0.77]))
    """
    lr, momentum, weight_decay = float(lr), float(momentum), float(weight_decay)
    change = grad + weight_decay * value
    if velocity is not None:
        velocity *= momentum
        velocity += change
        change = change + momentum * velocity if nesterov else velocity
    value -= lr * change


def adam(
    value: FloatArray,
    grad: FloatArray,
    m: FloatArray,
    v: FloatArray,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Adam (Kingma & Ba 2015) and, with decoupled weight decay, AdamW (Loshchilov & Hutter 2019).

    ``m = beta1 * m + (1 - beta1) * g``, ``v = beta2 * v + (1 - beta2) * g**2``, and the value loses
    ``lr * m_hat / (sqrt(v_hat) + eps)``, where the hats divide by ``1 - beta**step``.

    Parameters
    ----------
    value, grad, m, v : array, shape (n,)
        ``value``, ``m`` and ``v`` change in place.
    step : int
        Number of this step, 1 for the first.
    lr, beta1, beta2, eps, weight_decay : float
    decoupled : bool
        False: the decay is added to the gradient (``g = grad + weight_decay * value``). True: the value is multiplied
        by ``1 - lr * weight_decay`` first and ``g = grad``.

    Examples
    --------
    The first step moves every parameter by about ``lr``, whatever the size of its gradient.

    >>> import numpy as np
    >>> value, m, v = np.array([1.0, 1.0]), np.zeros(2), np.zeros(2)
    >>> adam(value, np.array([1e-3, -50.0]), m, v, 1, 0.1, 0.9, 0.999, 1e-8, weight_decay=0.0, decoupled=False)
    >>> value.round(4)
    array([0.9, 1.1])
    """
    lr, beta1, beta2, eps, weight_decay = (float(number) for number in (lr, beta1, beta2, eps, weight_decay))
    if decoupled:
        value *= 1.0 - lr * weight_decay
    else:
        grad = grad + weight_decay * value
    m *= beta1
    m += (1.0 - beta1) * grad
    v *= beta2
    v += (1.0 - beta2) * grad * grad
    # As PyTorch: eps is added after the bias correction.
    denominator = np.sqrt(v) * (1.0 / sqrt(1.0 - beta2**step)) + eps
    value -= lr / (1.0 - beta1**step) * (m / denominator)


def rmsprop(
    value: FloatArray,
    grad: FloatArray,
    square: FloatArray,
    velocity: FloatArray | None,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    weight_decay: float,
) -> None:
    """RMSprop (Tieleman & Hinton 2012, Coursera lecture 6.5), optionally with momentum.

    With ``g = grad + weight_decay * value`` and ``square = alpha * square + (1 - alpha) * g**2``, the value loses
    ``lr`` times ``g / (sqrt(square) + eps)``, or times the velocity that this quotient feeds.

    Parameters
    ----------
    value, grad, square : array, shape (n,)
        ``value`` and ``square`` change in place.
    velocity : array of shape (n,), or None
        Changed in place. None: no momentum.
    lr, alpha, eps, momentum, weight_decay : float

    Examples
    --------
    >>> import numpy as np
    >>> value, square = np.array([1.0]), np.zeros(1)
    >>> rmsprop(value, np.array([2.0]), square, None, 0.01, 0.99, 1e-8, momentum=0.0, weight_decay=0.0)
    >>> square.round(6), value.round(6)
    (array([0.04]), array([0.9]))
    """
    lr, alpha, eps, momentum, weight_decay = (float(number) for number in (lr, alpha, eps, momentum, weight_decay))
    grad = grad + weight_decay * value
    square *= alpha
    square += (1.0 - alpha) * grad * grad
    change: FloatArray = grad / (np.sqrt(square) + eps)
    if velocity is not None:
        velocity *= momentum
        velocity += change
        change = velocity
    value -= lr * change
