"""Results as text: the Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .rows import Bound, Outcome

__all__ = ["COLUMNS", "COUNTS", "counts", "device_line", "header", "line", "machine_line", "number", "tables"]

COLUMNS = (
    "what",
    "against",
    "neurograph ms",
    "peer ms",
    "times as fast",
    "target",
    "met?",
    "peak memory MiB, neurograph / peer",
)
COUNTS = ("what", "measured", "target", "met?", "peak memory MiB")
# Figures that have columns, or are only there for others.
STANDARD = {"ours_ms", "peer_ms", "ratio", "ratio_range", "ours_peak_mib", "peer_peak_mib", "peak_gib", "epoch_s"}
STANDARD |= {"ours_least_ms", "peer_least_ms", "ours_tool", "ours_way", "peer_way", "points"}
UNITS = {"s": "s", "ms": "ms", "us": "µs", "gib": "GiB", "mib": "MiB", "tflops": "TFLOP/s", "tbs": "TB/s"}


def header() -> str:
    """The first two lines of the table.

    Examples
    --------
    >>> header().splitlines()[0][:18]
    '| what | against |'
    """
    return f"{_row(COLUMNS)}\n{_rule(COLUMNS)}"


def line(outcome: Outcome) -> str:
    """One row of the table.

    Examples
    --------
    >>> figures = {"ours_ms": 1.5, "peer_ms": 6.0, "ratio": 4.0}
    >>> line(Outcome("tiny", "training step", "PyTorch", figures, (Bound("ratio", 3),)))
    '| training step | PyTorch | 1.50 | 6.00 | 4.0 | ≥ 3 | yes | – |'
    """
    figures = outcome.figures
    cells = [
        outcome.what + (f": {_extras(figures)}" if _counts_only(outcome) and figures else _way(figures, "ours")),
        (outcome.against or "–") + _way(figures, "peer"),
        number(figures.get("ours_ms")),
        number(figures.get("peer_ms")),
        number(figures.get("ratio"), digits=2),
        _targets(outcome),
        _verdict(outcome),
        _memory(figures),
    ]
    return _row(cells)


def tables(outcomes: Sequence[Outcome]) -> str:
    """The table of comparisons, and below it that of rows which only count something.

    Examples
    --------
    >>> fast, small = Outcome("a", "step", "PyTorch", {"ratio": 4.0}), Outcome("b", "rest", "", {"bytes": 61})
    >>> len(tables([fast, small]).splitlines())
    7
    """
    counted = [outcome for outcome in outcomes if _counts_only(outcome)]
    compared = [outcome for outcome in outcomes if not _counts_only(outcome)]
    parts = []
    if compared:
        lines = [header(), *map(line, compared)]
        if not any("ours_peak_mib" in outcome.figures for outcome in compared):
            lines = [_without_last(text) for whole in lines for text in whole.splitlines()]  # nobody measured memory
        parts.append("\n".join(lines))
    if counted:
        parts.append("\n".join([_row(COUNTS), _rule(COUNTS), *map(counts, counted)]))
    return "\n\n".join(parts)


def counts(outcome: Outcome) -> str:
    """One row that has no times.

    Examples
    --------
    >>> counts(Outcome("at_rest", "memory", "", {"bytes_a_connection": 60.9}, (Bound("bytes_a_connection", 72, True),)))
    '| memory | bytes a connection 60.9 | bytes a connection ≤ 72 | yes | – |'
    """
    figures = outcome.figures
    return _row([outcome.what, _extras(figures) or "–", _targets(outcome), _verdict(outcome), _memory(figures)])


def machine_line(machine: dict[str, Any]) -> str:
    """The machine in a sentence: processor, caches, memory, system, libraries, threads, day.

    Examples
    --------
    >>> machine_line({"cpu": "abacus", "cores": 2, "threads": 1, "libraries": {"numpy": "2.0"}, "date": "2026-01-01"})
    'abacus, 2 cores, 1 thread each; numpy 2.0; 2026-01-01'
    """
    caches = ", ".join(f"{name} {size}" for name, size in (machine.get("caches") or {}).items())
    parts = [
        device_line(machine),
        machine.get("cpu"),
        machine.get("vectors"),
        _plural(machine["cores"], "core") if machine.get("cores") else None,
        caches,
        f"{machine['memory_gib']} GiB" if machine.get("memory_gib") else None,
        machine.get("system"),
        f"{_plural(machine['threads'], 'thread')} each",
    ]
    versions = [f"python {machine['python']}"] if machine.get("python") else []
    versions += [f"{name} {version}" for name, version in (machine.get("libraries") or {}).items()]
    return "; ".join([", ".join(p for p in parts if p), ", ".join(versions), str(machine.get("date"))])


def device_line(machine: dict[str, Any]) -> str | None:
    """The GPU in a few words; None where none was measured.

    Examples
    --------
    >>> device_line({"gpu": "abacus X", "gpu_memory_gib": 1.5, "cuda_runtime": "13.0", "driver": None})
    'abacus X (1.5 GiB; CUDA 13.0)'
    """
    if not machine.get("gpu"):
        return None
    facts = (
        ("", "gpu_memory_gib", " GiB"),
        ("", "multiprocessors", " multiprocessors"),
        ("L2 ", "l2_mib", " MiB"),
        ("driver ", "driver", ""),
        ("CUDA ", "cuda_runtime", ""),
        ("CuPy ", "cupy", ""),
    )
    known = [f"{before}{machine[name]}{after}" for before, name, after in facts if machine.get(name)]
    return f"{machine['gpu']} ({'; '.join(known)})"


def number(value: float | None, digits: int = 3) -> str:
    """A figure with so many digits that count, a dash for none.

    Examples
    --------
    >>> [number(x) for x in (0.01234, 1.5, 26.06, 1234.5, None)], number(0.976, 2), number(39.6, 2)
    (['0.0123', '1.50', '26.1', '1,234', '–'], '0.98', '40')
    """
    if value is None:
        return "–"
    if value == 0:
        return "0"
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    if whole:
        return f"{value:,.{max(digits - whole, 0)}f}"
    return f"{value:#.{digits}g}"


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _rule(cells: Sequence[str]) -> str:
    return f"|{'---|' * len(cells)}"


def _without_last(text: str) -> str:
    """A row of a table without its last cell."""
    return text.rstrip("|").rsplit("|", 1)[0] + "|"


def _way(figures: dict[str, Any], side: str) -> str:
    """Which of several ways a side took, where it had the choice."""
    way = figures.get(f"{side}_way")
    return f" ({way})" if way else ""


def _counts_only(outcome: Outcome) -> bool:
    return not outcome.against


def _extras(figures: dict[str, Any]) -> str:
    """Figures that have no column, in words."""
    return ", ".join(
        f"{_words(name)} {_amount(name, value)}" for name, value in figures.items() if name not in STANDARD
    )


def _targets(outcome: Outcome) -> str:
    return ", ".join(map(_target, outcome.target)) or "–"


def _verdict(outcome: Outcome) -> str:
    if outcome.skipped:
        return f"skipped: {outcome.skipped}"
    if outcome.error:
        return f"error: {outcome.error}"
    if outcome.met is None:
        return "–"
    reached = [
        f"{_amount(bound.quantity, value)}{' of its time' * (bound.quantity == 'share')}"
        for bound in outcome.target
        if bound.quantity != "ratio" and (value := bound.value(outcome.figures)) is not None
    ]
    # Figures of a row without times stand beside its name.
    shown = f": {', '.join(reached)}" if reached and "ours_ms" in outcome.figures else ""
    return ("yes" if outcome.met else "no") + shown


def _target(bound: Bound) -> str:
    sign = "≤" if bound.at_most else "≥"
    if bound.quantity == "ratio":
        return f"{sign} {bound.limit:,g}"
    if bound.quantity == "share":
        return f"{sign} {bound.limit:g} of its time"
    return f"{_words(bound.quantity)} {sign} {bound.limit:g}{_unit(bound.quantity)}"


def _words(quantity: str) -> str:
    parts = quantity.split("_")
    return " ".join(parts[:-1] if len(parts) > 1 and parts[-1] in UNITS else parts)


def _unit(quantity: str) -> str:
    last = quantity.split("_")[-1]
    return f" {UNITS[last]}" if last in UNITS and "_" in quantity else ""


def _amount(quantity: str, value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    digits = 4 if quantity == "share" else 3
    return f"{number(value, digits)}{_unit(quantity)}"


def _memory(figures: dict[str, Any]) -> str:
    ours, peer = (figures.get(f"{side}_peak_mib") for side in ("ours", "peer"))
    if ours is None:
        return "–"
    return f"{ours:,.0f}" + ("" if peer is None else f" / {peer:,.0f}")
