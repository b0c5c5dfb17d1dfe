"""How much memory this process may still take."""

from __future__ import annotations

import os
from pathlib import Path

PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
# By the controllers that a line of /proc/self/cgroup names: folder, limit, usage, and what of it the kernel can drop.
GROUP_FILES = {
    "": (GROUPS, "memory.max", "memory.current", "inactive_file"),
    "memory": (GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available() -> int | None:
    """Bytes that can be taken without swapping, or None where the system does not say.

    On Linux the least of what the kernel calls available, what is left of the limits of the control groups (of a
    container), and what is left of ``ulimit -v``. Elsewhere half of the memory that is built in.

    Examples
    --------
    >>> available() is None or available() > 0
    True
    """
    try:
        rooms = [_kilobytes(PROC / "meminfo", "MemAvailable"), *_left_of_groups()]
        limit = _address_limit()
        if limit is not None:
            rooms.append(max(0, limit - _kilobytes(PROC / "self/status", "VmSize")))
        return min(rooms)
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return None


def _kilobytes(file: Path, name: str) -> int:
    return int(file.read_text().split(f"{name}:")[1].split()[0]) * 1024


def _left_of_groups() -> list[int]:
    """What the control group of this process, and those around it, may still take; empty without limits."""
    rooms = []
    for line in (PROC / "self/cgroup").read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds not in GROUP_FILES:
            continue
        folder, limit, used, cached = GROUP_FILES[kinds]
        group = folder / path.lstrip("/")
        for place in (group, *group.parents):
            if folder not in (place, *place.parents) or not (place / limit).exists():
                continue
            if (most := (place / limit).read_text().strip()) != "max":
                reclaimable = int((place / "memory.stat").read_text().split(f"\n{cached} ")[1].split()[0])
                taken = int((place / used).read_text()) - reclaimable
                rooms.append(max(0, int(most) - taken))
    return rooms


def _address_limit() -> int | None:
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit
