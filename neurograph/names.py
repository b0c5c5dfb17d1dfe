"""Names of neurons: what a person, a genome or a brain calls them, each used once in a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .errors import InvalidValueError


class Names:
    """A two-way dictionary of neuron ids and names.

    Examples
    --------
    >>> names = Names()
    >>> names.set([4, 7], ["AVAL", "AVAR"])
    >>> names.of(4), names.find("AVAR"), names.of(5)
    ('AVAL', 7, None)
    """

    def __init__(self) -> None:
        self._name_of: dict[int, str] = {}
        self._id_of: dict[str, int] = {}

    def of(self, id: int) -> str | None:
        """Name of a neuron, None if it has none."""
        return self._name_of.get(id)

    def find(self, name: str) -> int | None:
        """Id of the neuron with a name, None if there is none."""
        return self._id_of.get(name)

    def set(self, ids: Sequence[int], names: Sequence[str | None]) -> None:
        """Name neurons; None takes a name away.

        Raises
        ------
        InvalidValueError
            If a name is no string, or another neuron has it. Nothing has changed then.
        """
        given = [name for name in names if name is not None]
        for name in given:
            if not isinstance(name, str) or not name:
                raise InvalidValueError(f"a neuron's name must be a string of at least one character, not {name!r}")
        changed = set(ids)
        taken = [name for name in given if name in self._id_of and self._id_of[name] not in changed]
        if taken or len(set(given)) < len(given):
            name = taken[0] if taken else next(name for name in given if given.count(name) > 1)
            raise InvalidValueError(f"two neurons would be named {name!r}; a name belongs to one neuron, as an id does")
        self.discard(ids)
        for id, given_name in zip(ids, names, strict=True):
            if given_name is not None:
                self._name_of[id], self._id_of[given_name] = given_name, id

    def discard(self, ids: Iterable[int]) -> None:
        """Forget the names of some neurons."""
        if self._name_of:
            for id in ids:
                name = self._name_of.pop(id, None)
                if name is not None:
                    del self._id_of[name]

    def items(self) -> list[tuple[int, str]]:
        """All (id, name), by id."""
        return sorted(self._name_of.items())

    def __len__(self) -> int:
        return len(self._name_of)
