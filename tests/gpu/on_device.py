"""Build, check and measure everything on a machine with a GPU, in one call and within a budget of seconds.

    python tests/gpu/on_device.py                       # every part, ten minutes
    python tests/gpu/on_device.py compile bench --budget 400 --data FOLDER

Nothing is downloaded and nothing needs to be installed but Python, CuPy, numba, pytest, hypothesis and, for the peers,
PyTorch; the checkout itself is what runs. Every part has a share of the budget, one that fails or takes too long does
not keep the others from running, and what all of them said is in the folder ``$OUT``: summary.json, logs.txt, the
results of the benchmark with table and picture. Ends with 1 where a part failed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
TAIL = 300_000  # characters of a part's output that are kept
# Small tests that reach every kind of kernel; a checker makes them ten to a hundred times slower.
SANITIZED = (
    "tests/gpu/test_rows.py",
    "tests/gpu/test_staged.py",
    "tests/gpu/test_tiles.py",
    "tests/gpu/test_updates.py",
)


@dataclass(frozen=True)
class Setting:
    """What all parts know."""

    out: Path
    logs: Path
    data: str | None
    limit: float = 0.0


@dataclass
class Done:
    """How a part ended."""

    part: str
    verdict: str
    seconds: float
    said: str


@dataclass(frozen=True)
class Part:
    """One part: the command that it is, and its share of the budget in seconds."""

    name: str
    share: float
    command: Callable[[Setting], Sequence[str] | None]
    about: str


def info(setting: Setting) -> Sequence[str]:
    return [sys.executable, __file__, "--describe"]


def compile_all(setting: Setting) -> Sequence[str]:
    return [sys.executable, __file__, "--compile"]


def gpu_tests(setting: Setting) -> Sequence[str]:
    return [*PYTEST, *parallel(), "-m", "not slow", "tests/gpu", "tests/test_bench_gpu.py"]


def suite(setting: Setting) -> Sequence[str]:
    return [*PYTEST, *parallel(), "-k", "gpu", "--ignore=tests/gpu", "tests"]


def edits(setting: Setting) -> Sequence[str]:
    return [*PYTEST, *parallel(2), "-m", "slow", "tests/gpu/test_edits.py"]


def sanitizer(tool: str) -> Callable[[Setting], Sequence[str] | None]:
    def command(setting: Setting) -> Sequence[str] | None:
        program = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
        if program is None:
            return None
        chosen = [name for name in SANITIZED if (ROOT / name).exists()]
        options = [f"--tool={tool}", "--error-exitcode=9", "--print-limit=20", "--target-processes=application-only"]
        return [program, *options, sys.executable, __file__, "--sanitized", *chosen]

    return command


def bench(setting: Setting) -> Sequence[str]:
    file = setting.out / f"{datetime.date.today().isoformat()}-gpu.json"
    command = [sys.executable, "-m", "neurograph.cli", "bench", "--backend", "gpu", "--json", str(file)]
    command += ["--output", str(setting.out), "--limit", f"{max(setting.limit - 10, 5):.0f}"]
    return command + (["--data", setting.data] if setting.data else [])


PARTS = (
    Part("info", 20, info, "the device, its driver, the compilers, the libraries"),
    Part("compile", 90, compile_all, "every kernel of every source, by the compiler that CuPy uses"),
    Part("gpu-tests", 70, gpu_tests, "the tests of the GPU's parts"),
    Part("suite", 90, suite, "the whole numerical suite with backend gpu"),
    Part("edits", 60, edits, "ten thousand random edits between training steps, against the CPU"),
    Part("memcheck", 45, sanitizer("memcheck"), "accesses outside of arrays"),
    Part("racecheck", 45, sanitizer("racecheck"), "races in shared memory"),
    Part("initcheck", 45, sanitizer("initcheck"), "reads of memory that nobody wrote"),
    Part("bench", 240, bench, "the benchmark"),
)


def parallel(most: int = 8) -> list[str]:
    """Options that spread tests over processes, where pytest can."""
    return ["-n", str(min(most, os.cpu_count() or 1))] if importlib.util.find_spec("xdist") else []


def environment() -> dict[str, str]:
    """The checkout first on the path, tests on the GPU, the compilers within reach."""
    path = os.pathsep.join(filter(None, [os.environ.get("PATH"), "/usr/local/cuda/bin"]))
    python = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": python,
        "NEUROGRAPH_TEST_BACKENDS": "gpu",
        "PYTHONUNBUFFERED": "1",
    }


def run(part: Part, setting: Setting) -> Done:
    """Run a part for as long as it may, with all its children; what it says goes to a file of its own."""
    start, command = time.monotonic(), part.command(setting)
    if command is None:
        return Done(part.name, "skipped", 0.0, "its tool is not installed")
    log = setting.logs / part.name
    with open(log, "wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait(setting.limit)
            verdict = "ok" if status == 0 else f"failed with status {status}"
        except subprocess.TimeoutExpired:
            verdict = f"stopped after {setting.limit:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return Done(part.name, verdict, time.monotonic() - start, lines[-1][:160] if lines else "")


def keep(setting: Setting, done: Sequence[Done]) -> None:
    """Write what is known so far: the call may be stopped from outside."""
    (setting.out / "summary.json").write_text(json.dumps([asdict(d) for d in done], indent=1) + "\n")
    parts = []
    for d in done:
        log = setting.logs / d.part
        text = log.read_text(errors="replace") if log.exists() else d.said
        parts.append(f"{'=' * 20} {d.part}: {d.verdict}, {d.seconds:.0f} s\n{text[-TAIL:]}")
    (setting.out / "logs.txt").write_text("\n".join(parts))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are named, or all."""
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        epilog="\n".join(f"{part.name:10} {part.about}" for part in PARTS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"which ({', '.join(names)}); all when none is named")
    parser.add_argument("--budget", type=float, default=580, metavar="SECONDS", help="for all parts together")
    parser.add_argument("--data", metavar="FOLDER", help="where the Graph Challenge's instance is")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.parts) - set(names))
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; known: {', '.join(names)}")
    out = Path(os.environ.get("OUT") or "neurograph_device").resolve()
    out.mkdir(parents=True, exist_ok=True)
    left = [part for part in PARTS if not options.parts or part.name in options.parts]
    end, done = time.monotonic() + options.budget, []
    with tempfile.TemporaryDirectory() as logs:
        while left:
            part, remaining = left[0], end - time.monotonic()
            # What earlier parts did not need is shared out among the later ones.
            limit = max(remaining * part.share / sum(p.share for p in left), 1.0)
            setting = Setting(out, Path(logs), options.data, limit)
            print(f"-- {part.name}, up to {limit:.0f} s: {part.about}", flush=True)
            done.append(run(part, setting))
            keep(setting, done)
            left = left[1:]
    for d in done:
        print(f"{d.part:10} {d.verdict:24} {d.seconds:5.0f} s  {d.said}")
    return 0 if all(d.verdict in ("ok", "skipped") for d in done) else 1


# -- what runs in processes of its own XX


def describe() -> None:
    """Print what there is."""
    from importlib.metadata import PackageNotFoundError, version

    for command in (["nvidia-smi"], ["nvcc", "--version"], ["compute-sanitizer", "--version"], ["uname", "-a"]):
        if shutil.which(command[0]):
            print(subprocess.run(command, capture_output=True, text=True).stdout, flush=True)
        else:
            print(f"{command[0]}: not found")
    print(f"python {sys.version}, {os.cpu_count()} cores")
    for name in ("numpy", "scipy", "numba", "torch", "cupy-cuda12x", "cupy-cuda13x", "pytest", "hypothesis"):
        try:
            print(name, version(name))
        except PackageNotFoundError:
            print(name, "not installed")
    from neurograph.backends import device
    from neurograph.bench import device as described

    problem = device.problem()
    if problem:
        sys.exit(f"no GPU can be used: {problem}")
    print(json.dumps(described.describe()))


def compile_one(work: tuple[str, str]) -> tuple[str, str, float, str | None]:
    """Compile one instance, and load it: what the driver refuses (registers, shared memory) shows as well."""
    source, expression = work
    start, error = time.monotonic(), None
    try:
        from neurograph.backends.gpu import module

        kernel = module._kernel(source, expression)
        if kernel.local_size_bytes:
            error = f"uses {kernel.local_size_bytes} bytes of local memory a thread"
    except Exception as caught:
        error = " ".join(f"{type(caught).__name__}: {caught}".split())[:2000]
    return source, expression, time.monotonic() - start, error


def compile_kernels() -> None:
    """Compile every instance of every family, in as many processes as there are cores; the results are cached."""
    from multiprocessing import get_context
    from pkgutil import iter_modules

    from neurograph.backends import gpu
    from neurograph.backends.gpu import module

    for found in iter_modules(gpu.__path__):
        importlib.import_module(f"{gpu.__name__}.{found.name}")
    work = [(family.source, expression) for family in module.FAMILIES for expression in family.expressions]
    refused = spilled = 0
    with get_context("spawn").Pool(min(os.cpu_count() or 1, 16)) as pool:
        for source, expression, seconds, error in pool.imap_unordered(compile_one, work):
            if error or seconds > 20:
                print(f"{source}: {expression}: {seconds:.1f} s: {error or 'slow'}", flush=True)
            spilled += bool(error and error.startswith("uses"))
            refused += bool(error and not error.startswith("uses"))
    print(f"{len(work)} kernels, {refused} refused, {spilled} that use local memory")
    sys.exit(1 if refused else 0)


def sanitized(tests: Sequence[str]) -> None:
    """Run tests with each array in memory of its own, so that a checker sees what leaves one."""
    import cupy
    import pytest

    cupy.cuda.set_allocator(None)
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "--hypothesis-profile=ci", *tests]))


if __name__ == "__main__":
    if "--describe" in sys.argv:
        describe()
    elif "--compile" in sys.argv:
        compile_kernels()
    elif "--sanitized" in sys.argv:
        sanitized(sys.argv[sys.argv.index("--sanitized") + 1 :])
    else:
        sys.exit(main())
