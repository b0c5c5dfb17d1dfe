"""Aggregations: how a neuron joins what arrives over its connections.

A neuron computes ``y = activation(z)`` from its pre-activation

    z = bias + aggregate(weight[c] * value[source[c]] for every incoming connection c)

===========  ====  ==============================  ===================================================  ==============
aggregation  code  of n terms t                    gradient that reaches term c                         of no terms
===========  ====  ==============================  ===================================================  ==============
sum          0     t[0] + ... + t[n - 1]           1                                                    0
mean         1     sum / n                         1 / n                                                0
product      2     t[0] * ... * t[n - 1]           the product of the other terms, exact at zeros too   1
max          3     the largest                     1 / k for each of the k largest, 0 for the others    0
min          4     the smallest                    1 / k for each of the k smallest, 0 for the others   0
maxabs       5     the one farthest from zero      1 / k for each of the k equal ones, 0 for the rest   0
median       6     the mean of the middle two      1 / 2 to each of the middle two, 0 for the others    0
===========  ====  ==============================  ===================================================  ==============

Terms that tie share the gradient evenly (as in torch.amax), so the order of the connections does not matter; of two
terms that are equally far from zero on either side, maxabs takes the older connection's. The middle two of an odd
number of terms are one. n is the neuron's fan-in as it is now: pruning a connection changes a mean. The codes are what
the tables and the files store, so new ones go last.
"""

from ..errors import InvalidValueError, UnknownNameError

AGGREGATIONS: dict[str, int] = {"sum": 0, "mean": 1, "product": 2, "max": 3, "min": 4, "maxabs": 5, "median": 6}
_NAMES = tuple(AGGREGATIONS)


def parse(name: str) -> int:
    """Return the code of an aggregation.

    Raises
    ------
    UnknownNameError
        There is no aggregation of that name; the message lists those that exist.
    InvalidValueError
        `name` is not a string.

    Examples
    --------
    >>> parse("mean")
    1
    """
    if not isinstance(name, str):
        raise InvalidValueError(f"aggregation {name!r}: write a name, one of {', '.join(AGGREGATIONS)}")
    if name not in AGGREGATIONS:
        raise UnknownNameError(f"unknown aggregation {str(name)!r}; known are {', '.join(AGGREGATIONS)}")
    return AGGREGATIONS[name]


def name(code: int) -> str:
    """Return the name of the aggregation with this code.

    Raises
    ------
    InvalidValueError
        No aggregation has that code.

    Examples
    --------
    >>> name(2)
    'product'
    """
    if not 0 <= code < len(_NAMES):
        raise InvalidValueError(f"no aggregation has the code {code}; codes run from 0 to {len(_NAMES) - 1}")
    return _NAMES[code]
