"""Parameters that several connections, or the biases of several neurons, use together."""

from __future__ import annotations

import numpy as np

from ..errors import InvalidValueError
from .tables import Table

KEY = "parameter"  # column of the tenants: row of the shared table plus one; 0 for a value of their own
SQUEEZE_FROM = 16  # rows below which free ones are not worth a look
APART = 2**32  # numbers from here on are parameters, where they do not share the counter of their tenants' ids


def distinct(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different labels, ascending, and for each entry the number of its label among them.

    Examples
    --------
    >>> distinct(np.array([7, 3, 7]))
    (array([3, 7]), array([1, 0, 1]))
    """
    if labels.dtype.kind in "iu" and len(labels):
        lowest = int(labels.min())
        span = int(labels.max()) - lowest + 1
        if span <= 4 * len(labels):  # counting beats sorting
            shifted = labels.astype(np.int64) - lowest
            present = np.zeros(span, bool)
            present[shifted] = True
            return np.flatnonzero(present) + lowest, (np.cumsum(present) - 1)[shifted]
    names, group = np.unique(labels, return_inverse=True)
    return names, group


class Sharing:
    """Who shares which parameter: a table of parameters beside the table of their tenants.

    A tenant (a connection, or a neuron with its bias) has a value of its own until it is tied. Then its value, gradient
    and optimizer state live in one row of ``table`` for all that are tied together, and the tenant's own columns are
    what the kernels work on: `spread` copies the parameters there before a pass, `collect` adds up the gradients after
    it. While nothing is tied there is neither a column nor any work.

    Parameters
    ----------
    tenants : Table
    value, grad : str
        Names of the columns that are shared; their state columns follow.
    common_numbers : bool
        Parameters take their numbers from the ids of the tenants, so that one counter numbers both.

    Attributes
    ----------
    table : Table
        The parameters; column ``users`` counts the tenants of each.
    structure : tuple of str
        Columns of the tenants that are no part of a parameter.
    """

    def __init__(self, tenants: Table, value: str, grad: str, common_numbers: bool):
        dtype = tenants.read(value).dtype
        self.tenants, self.value, self.grad = tenants, value, grad
        self.table = Table({value: dtype, grad: dtype, "users": np.int32})
        self.structure = tuple(n for n in tenants.columns if n not in (value, grad))  # later ones are state
        self._common = common_numbers
        if not common_numbers:
            self.table.next_id = APART

    @property
    def n_tied(self) -> int:
        """Tenants that share a parameter, be it with nobody."""
        return int(self.table["users"].sum()) if len(self.table) else 0

    @property
    def n_parameters(self) -> int:
        """Different parameters of all tenants."""
        return len(self.tenants) - self.n_tied + len(self.table)

    @property
    def trained(self) -> list[str]:
        """Names of the columns that belong to a parameter: value, gradient, and whatever optimizers have added."""
        fixed = {*self.structure, KEY, "users"}
        names = dict.fromkeys((self.value, self.grad, *self.tenants.columns, *self.table.columns))
        return [name for name in names if name not in fixed]

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the columns that optimizers have added."""
        return tuple(name for name in self.trained if name not in (self.value, self.grad, "frozen"))

    @property
    def nbytes(self) -> int:
        """Bytes of the parameters; the column of the tenants is counted with them."""
        return self.table.nbytes

    def rows(self, slots: np.ndarray) -> np.ndarray:
        """Row of the parameter of each tenant, -1 for a value of its own."""
        if KEY not in self.tenants:
            return np.full(len(slots), -1)
        return self.tenants.read(KEY)[slots].astype(np.int64) - 1

    def numbers(self, slots: np.ndarray) -> np.ndarray:
        """Number of the parameter of each tenant: the tenant's id where the value is its own."""
        rows, numbers = self.rows(slots), self.tenants.read("id")[slots]
        tied = rows >= 0
        numbers[tied] = self.table.read("id")[rows[tied]]
        return numbers

    def read(self, column: str, slots: np.ndarray) -> np.ndarray:
        """A copy of a column, each value from where it lives; zeros where no such column was needed yet."""
        like = next((t.entries(column) for t in (self.tenants, self.table) if column in t), None)
        dtype = self.tenants.entries(self.value).dtype if like is None else like.dtype
        values = self.tenants.read(column)[slots] if column in self.tenants else np.zeros(len(slots), dtype)
        if column in self.structure:
            return values
        rows = self.rows(slots)
        tied = rows >= 0
        if tied.any():
            values[tied] = self.table.read(column)[rows[tied]] if column in self.table else 0
        return values

    def write(self, column: str, slots: np.ndarray, values: np.ndarray | float) -> None:
        """Set a column: a number, or one each; values for one parameter must agree.

        A gradient is set where it lives only: what each tenant contributed to a shared one stays.

        Raises
        ------
        InvalidValueError
            If they do not. Nothing has changed then.
        """
        rows, dtype = self.rows(slots), np.asarray(values).dtype
        tied = rows >= 0
        if tied.any():
            given = np.broadcast_to(values, len(slots))
            _require_agreement(given[tied], rows[tied], f"set the {column} of parameter", self.table.read("id"))
            self.table.ensure_column(column, dtype)
            self.table.put(column, rows[tied], given[tied])
            if column == self.grad:
                slots, values = slots[~tied], given[~tied]
        self.tenants.ensure_column(column, dtype)
        self.tenants.put(column, slots, values)

    def tie(
        self, slots: np.ndarray, labels: np.ndarray, average: bool = False, first_number: int | None = None
    ) -> None:
        """Give tenants one new parameter a label, numbered in ascending order of the labels.

        Its value is the tenants' common value, or their mean; optimizer state is the mean of theirs, and the gradient
        the sum of what each of them contributed.

        Raises
        ------
        InvalidValueError
            If their values differ and are not to be averaged. Nothing has changed then.
        """
        if not len(slots):
            return
        names, group = distinct(labels)
        count = len(names)
        members = np.bincount(group, minlength=count)
        columns = self.trained
        values = {name: self.read(name, slots) for name in columns}
        if not average:
            what = f"tie tenants of different {self.value}: they would set label"
            _require_agreement(values[self.value], group, what, names)
        self.release(slots)
        if self._common:
            self.table.next_id = self.tenants.next_id if first_number is None else first_number
        rows = self.table.allocate(count)
        if self._common:
            self.tenants.next_id = max(self.tenants.next_id, self.table.next_id)
        first = np.empty(count, np.int64)
        first[group[::-1]] = np.arange(len(slots))[::-1]
        for name in columns:
            column = self.table.add_column(name, values[name].dtype)
            if name == self.grad:
                column[rows] = np.bincount(group, weights=self.tenants.read(name)[slots], minlength=count)
                continue
            common = values[name][first]
            uneven = np.bincount(group, weights=values[name] != common[group], minlength=count) > 0
            mean = np.bincount(group, weights=values[name], minlength=count) / members
            column[rows] = np.where(uneven, mean, common)  # a mean of equal numbers may differ in the last bit
        self.table["users"][rows] = members
        self.tenants.ensure_column(KEY, np.int32)
        self.tenants.put(KEY, slots, rows[group] + 1)
        self.tenants[self.value][slots] = self.table[self.value][rows[group]]

    def join(self, slots: np.ndarray, others: np.ndarray) -> None:
        """Let tenants share the parameters of ``others``, which get one to share where they had none."""
        if not len(slots):
            return
        own = others[self.rows(others) < 0]
        if len(own):
            distinct = np.unique(own)
            self.tie(distinct, np.arange(len(distinct)))
        self.release(slots)
        rows = self.rows(others)
        self.tenants.put(KEY, slots, rows + 1)
        np.add.at(self.table["users"], rows, 1)
        self.tenants[self.value][slots] = self.table[self.value][rows]

    def untie(self, slots: np.ndarray) -> None:
        """Give tenants values of their own: copies of what they shared, optimizer state included.

        Only the gradient is no copy: each keeps what it contributed.
        """
        slots = slots[self.rows(slots) >= 0]
        if not len(slots):
            return
        for name in self.trained:
            if name == self.grad:
                continue
            values = self.read(name, slots)
            self.tenants.add_column(name, values.dtype)[slots] = values
        self.release(slots)

    def release(self, slots: np.ndarray | int) -> None:
        """Take tenants, or one, out of what they share; a parameter without users is gone."""
        if not len(self.table):
            return
        slots = np.atleast_1d(slots)
        rows = self.rows(slots)
        tied = rows >= 0
        if not tied.any():
            return
        self.tenants.put(KEY, slots[tied], 0)
        left = np.bincount(rows[tied], minlength=self.table.size)
        self.table["users"][:] -= left.astype(np.int32)
        self.table.release(np.flatnonzero((left > 0) & (self.table["users"] == 0)))
        if self.table.size > SQUEEZE_FROM and self.table.n_free > 2 * len(self.table):
            self._squeeze()

    def spread(self) -> None:
        """Copy every shared value to its tenants, where the kernels read it."""
        if len(self.table):
            from . import compiled

            compiled.spread(self.tenants.read(KEY), self.table.read(self.value), self.tenants[self.value])

    def collect(self) -> None:
        """Add up the tenants' gradients, parameter by parameter, in the order of the slots."""
        if len(self.table):
            from . import compiled

            compiled.collect(self.tenants.read(KEY), self.tenants.read(self.grad), self.table[self.grad])

    def check(self) -> None:
        """Assert that tenants and parameters agree; for tests."""
        live = self.tenants.live()
        rows = self.rows(live)
        users = np.bincount(rows[rows >= 0], minlength=self.table.size)
        assert (users == self.table["users"]).all()
        assert ((users > 0) == (self.table["id"] >= 0)).all(), "a parameter without users, or a user without one"

    def _squeeze(self) -> None:
        """Give back the memory of parameters that are gone."""
        live = self.table.live()
        row = np.zeros(self.table.size + 1, np.int32)
        row[live + 1] = np.arange(1, len(live) + 1)
        self.tenants[KEY][:] = row[self.tenants[KEY]]
        self.table.compact()


def _require_agreement(values: np.ndarray, group: np.ndarray, what: str, names: np.ndarray) -> None:
    """Refuse different values inside a group."""
    if not len(values):
        return
    first = np.empty(int(group.max()) + 1, values.dtype)
    first[group[::-1]] = values[::-1]
    unequal = values != first[group]
    if unequal.any():
        i = int(np.flatnonzero(unequal)[0])
        raise InvalidValueError(
            f"cannot {what} {names[group[i]]} to both {first[group[i]]} and {values[i]}; all that share a parameter "
            "have one value: give equal ones, ask `tie` for their average, or `untie` them"
        )
