"""One kernel compiled for the host: a source and an instance of a template become a library with a launcher."""

from __future__ import annotations

import ctypes
import getpass
import hashlib
import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path

HEADERS = Path(__file__).parent / "include"
FLAGS = (
    *("-std=c++17", "-O1", "-fPIC", "-fno-gnu-unique", "-fvisibility=hidden", "-fno-exceptions"),
    *("-fno-strict-aliasing", "-ffp-contract=off", "-fsanitize=alignment,bounds,shift-exponent"),
    *("-Wall", "-Wno-unused-function", "-Wno-unknown-pragmas", "-Wno-attributes"),
)


class CompileError(RuntimeError):
    """What the compiler said."""


def cache_folder() -> Path:
    """Where compiled kernels are kept."""
    default = Path(tempfile.gettempdir()) / f"neurograph_emulation_{getpass.getuser()}"
    return Path(os.environ.get("NEUROGRAPH_EMULATION_CACHE", default))


class Library:
    """A compiled kernel: what its parameters are, and how to launch it."""

    def __init__(self, path: Path, name: str):
        self.name = name
        self._library = ctypes.CDLL(str(path))
        self._library.emulation_signature.restype = ctypes.c_char_p
        text = self._library.emulation_signature().decode()
        self.parameters = tuple(text.split(",")[:-1])
        self._launch = self._library.emulation_launch
        self._launch.restype = ctypes.c_char_p
        self._launch.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_size_t, ctypes.c_uint64]
        self.static_shared = self._find_static_shared(path)
        self.most_threads = int(self._library.emulation_bound())

    def _find_static_shared(self, path: Path) -> int:
        # Static variables within functions are local symbols, so the dynamic loader cannot tell where they are.
        listing = path.with_suffix(".symbols")
        if not listing.exists():
            listing.write_text(_run(["nm", "-S", "--defined-only", str(path)]))
        rows = [line.split() for line in listing.read_text().splitlines()]
        own = next(int(row[0], 16) for row in rows if row[-1] == "emulation_launch")
        base = ctypes.cast(self._launch, ctypes.c_void_p).value - own
        register = self._library.emulation_static_shared
        register.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        total = 0
        for row in rows:
            if len(row) == 4 and row[2] in "bBdDvVu" and row[3].startswith("_ZZ") and "9emulation" not in row[3]:
                size = int(row[1], 16)
                register(base + int(row[0], 16), size)
                total += size
        return total

    def launch(self, grid: tuple[int, ...], block: tuple[int, ...], pointers: list[int], shared: int, way: int) -> str:
        """Run the kernel; what went wrong, or nothing."""
        sizes = [(ctypes.c_uint * 3)(*(*s, 1, 1)[:3]) for s in (grid, block)]
        arguments = (ctypes.c_void_p * max(1, len(pointers)))(*pointers)
        said = self._launch(sizes[0], sizes[1], arguments, shared, way)
        return said.decode() if said else ""


@cache
def build(code: str, options: tuple[str, ...], expression: str) -> Library:
    """The library of one instance, compiled where it is not on disk yet."""
    folders = [Path(o[2:]) for o in options if o.startswith("-I")]
    options = tuple(o for o in options if not o.startswith(("-I", "-std")))
    file_name = _file_name(code, folders)
    read: dict[str, str] = {}
    _read_headers(code, folders, read)
    common = _hash(_headers(), Path(__file__).read_text(), options, _version())
    folder = cache_folder()
    path = folder / f"{re.sub(r'[^A-Za-z0-9]+', '_', expression)[:60]}_{_hash(common, code, read, expression)}.so"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        text = f'#line 1 "{file_name}"\n{code}\n#line 1 "launcher of {expression}"\nEMULATION_EXPORT({expression})\n'
        text += f"EMULATION_BOUND({{ {_bound(code, expression)} }})\n"
        with tempfile.TemporaryDirectory(dir=folder) as work:
            source, compiled, result = (Path(work) / f"kernel.{ending}" for ending in ("cpp", "o", "so"))
            source.write_text(text)
            ready = _compiled_headers(folder / f"headers_{common}", options)
            flags = [*FLAGS, *options, *(f"-I{f}" for f in (ready, HEADERS, *folders)), "-include", "cuda_emulation.h"]
            _run(["g++", *flags, "-c", "-x", "c++", str(source), "-o", str(compiled)], expression)
            # Without the flags, for the checks call functions of ours and not those of the compiler's library.
            _run(["g++", "-shared", str(compiled), "-o", str(result)], expression)
            os.replace(result, path)
    return Library(path, expression)


def launch_bound(code: str, name: str) -> tuple[str, str] | None:
    """Parameters of a kernel's template, and the threads in its ``__launch_bounds__``, as they are written."""
    bounds = r"__launch_bounds__\s*\(((?:[^(){};]|\([^(){};]*\))*)\)"
    pattern = rf"(?:template\s*<([^>]*)>\s*)?__global__\s+void\s+{bounds}\s*{name}\s*\("
    found = re.search(pattern, re.sub(r"//.*", "", code))
    return (found[1] or "", _split(found[2])[0]) if found else None


def _bound(code: str, expression: str) -> str:
    """The body of a function that returns how many threads a block of an instance may have."""
    name, _, arguments = expression.partition("<")
    said = launch_bound(code, name)
    if said is None:
        return "return 1024;"
    given = zip(_split(said[0]), _split(arguments.removesuffix(">")), strict=True) if arguments else ()
    lines = []
    for parameter, argument in given:
        kind, _, own = parameter.partition(" ")
        is_type = kind in ("typename", "class")
        lines.append(f"using {own} = {argument};" if is_type else f"constexpr {parameter} = {argument};")
    return f"{' '.join(lines)} return {said[1]};"


def _split(text: str) -> list[str]:
    """What commas separate that are in no brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "<([") - (character in ">)]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [" ".join(part.split()) for part in parts]


def _compiled_headers(folder: Path, options: tuple[str, ...]) -> Path:
    """A folder with the emulation's headers parsed, which are a good third of the work of compiling a kernel."""
    result = folder / "cuda_emulation.h.gch"
    if not result.exists():
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            made = Path(work) / "made"
            _run(
                ["g++", *FLAGS, *options, "-w", "-x", "c++-header", str(HEADERS / "cuda_emulation.h"), "-o", str(made)]
            )
            os.replace(made, result)
    return folder


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


@cache
def _headers() -> tuple[tuple[str, str], ...]:
    return tuple((header.name, header.read_text()) for header in sorted(HEADERS.glob("*.h")))


def _read_headers(code: str, folders: list[Path], read: dict[str, str]) -> None:
    for name in re.findall(r'^\s*#\s*include\s*["<]([^">]+)[">]', code, re.MULTILINE):
        path = next((f / name for f in folders if (f / name).exists()), None)
        if path is not None and name not in read:
            read[name] = path.read_text()
            _read_headers(read[name], folders, read)


def _file_name(code: str, folders: list[Path]) -> str:
    for folder in folders:
        for path in folder.glob("*.cu"):
            if path.read_text() == code:
                return path.name
    return "kernel.cu"


@cache
def _version() -> str:
    return _run(["g++", "--version"]) + _run(["g++", "-dumpmachine"])


def _run(command: list[str], subject: str = "") -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CompileError(f"{subject or command[0]}: {done.stderr[:6000]}")
    return done.stdout
