"""Every kernel that may be asked for compiles for a GPU, without complaint and without spilling registers."""

import ctypes.util
import functools
import hashlib
import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from neurograph.backends import gpu
from neurograph.backends.gpu import module

from ..emulation.compiler import cache_folder, launch_bound

for part in pkgutil.iter_modules(gpu.__path__):
    importlib.import_module(f"{gpu.__name__}.{part.name}")

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
ARCHITECTURE = "sm_90"
OPTIONS = (f"-arch={ARCHITECTURE}", "-cubin", "-Xptxas=-v,--warning-as-error", "-Werror=all-warnings")
# Said in a source, or in a header for all that include it: `// stack frame <= N bytes: why`.
ALLOWED = re.compile(r"^// stack frame <= (\d+) bytes: ", re.MULTILINE)
# What NVRTC, which compiles on the user's machine, finds without the host's libraries.
HEADERS = {"cuda_bf16.h", "cuda_fp16.h", "cuda_pipeline_primitives.h", "mma.h"}


def instances():
    """Expressions of each source."""
    found = {}
    for family in module.FAMILIES:
        found.setdefault(family.source, []).extend(family.expressions)
    return found


def with_headers(name):
    """Text of a source and of those of our own that it includes, each once."""
    names = [name]
    for text in names:
        included = re.findall(r'^\s*#\s*include\s*"([^"]+)"', (module.SOURCES / text).read_text(), re.MULTILINE)
        names += [n for n in included if n not in names]
    return [(module.SOURCES / n).read_text() for n in names]


@functools.cache
def report(source):
    """What nvcc says of all instances of a source; kept on disk, for it takes long."""
    expressions = instances()[source]
    lines = [f'#include "{source}"', *(f"template __global__ decltype({e}) {e};" for e in expressions if "<" in e)]
    parts = with_headers(source)
    command = ["nvcc", *module.OPTIONS, *OPTIONS]
    version = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    key = hashlib.sha256(repr((lines, parts, command[1:], version)).encode()).hexdigest()[:24]
    kept = cache_folder() / f"nvcc_{source}_{key}.txt"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        code, result = (kept.with_name(f"{key}_{os.getpid()}.{ending}") for ending in ("cu", "cubin"))
        code.write_text("\n".join(lines) + "\n")
        done = subprocess.run([*command, str(code), "-o", str(result)], capture_output=True, text=True)
        code.unlink()
        result.unlink(missing_ok=True)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said[:4000]
        kept.write_text(said)
    return kept.read_text()


@functools.cache
def nvrtc():
    """The compiler that CuPy calls, out of a CUDA toolkit or of the wheels that CuPy asks for; it needs no GPU."""
    found = [path for place in sys.path for path in sorted(Path(place).glob("nvidia/*/lib/libnvrtc.so.*"))]
    for name in [*map(str, found), ctypes.util.find_library("nvrtc")]:
        try:
            return ctypes.CDLL(name) if name else None
        except OSError:
            continue
    return None


def headers():
    """Folders with CUDA's headers, of wheels and of a toolkit."""
    places = [path for place in sys.path for path in sorted(Path(place).glob("nvidia/*/include"))]
    compiler = shutil.which("nvcc")
    said = (
        subprocess.run([compiler, "-dryrun", "-x", "cu", "-c", "-"], capture_output=True, text=True, input="")
        if compiler
        else None
    )
    top = re.search(r"^#\$ TOP=(.*)$", said.stderr, re.MULTILINE) if said else None
    return [*places, *([Path(top[1]) / "include"] if top else [])]


def compile_as_cupy_does(source, expressions):
    """What NVRTC returns and says of some instances of a source."""
    library, program, size = nvrtc(), ctypes.c_void_p(), ctypes.c_size_t()
    code = (module.SOURCES / source).read_text().encode()
    assert library.nvrtcCreateProgram(ctypes.byref(program), code, source.encode(), 0, None, None) == 0
    for expression in expressions:
        assert library.nvrtcAddNameExpression(program, expression.encode()) == 0
    options = [*module.OPTIONS, f"--gpu-architecture={ARCHITECTURE}", *(f"-I{folder}" for folder in headers())]
    arguments = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
    code = library.nvrtcCompileProgram(program, len(options), arguments)
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    said = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, said)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return code, said.value.decode()


@pytest.mark.slow
@needs_nvcc
@pytest.mark.parametrize("source", sorted(instances()))
def test_blocks_have_registers_enough(source):
    """A block of 1024 threads has 64 registers for each; a kernel that takes more says how many threads it can have."""
    code = "\n".join(with_headers(source))
    for name, *_, registers in frames(report(source)):
        kernel = next(f.name for f in module.FAMILIES if f.source == source and f"{len(f.name)}{f.name}" in name)
        assert registers <= 64 or launch_bound(code, kernel), f"{name}: {registers} registers and no __launch_bounds__"


@pytest.mark.parametrize("source", sorted(instances()))
def test_the_compiler_that_cupy_calls_takes_it(source):
    """One instance of each kernel: it sees all of the source, and none of the host's headers."""
    if nvrtc() is None:
        pytest.skip("NVRTC is not installed")
    first = [family.expressions[0] for family in module.FAMILIES if family.source == source]
    code, said = compile_as_cupy_does(source, first)
    assert code == 0, said[:4000]


def frames(said):
    """(mangled name, bytes of stack frame, of spill stores, of spill loads, registers) of each kernel."""
    pattern = (
        r"Compiling entry function '(\w+)' for .*?\n(?:.*?Function properties for .*?\n)?.*?(\d+) bytes stack frame, "
        r"(\d+) bytes spill stores, (\d+) bytes spill loads\n.*?Used (\d+) registers"
    )
    return [(name, *map(int, numbers)) for name, *numbers in re.findall(pattern, said)]


@pytest.mark.slow
@needs_nvcc
@pytest.mark.parametrize("source", sorted(instances()))
def test_every_instance_compiles(source):
    """All template arguments that a family may be asked with, in one go, with warnings as errors."""
    kernels = frames(report(source))
    # Instances of other kernels of the file, that one of these launches or holds, would be more.
    assert len(kernels) >= len(set(instances()[source]))


@pytest.mark.slow
@needs_nvcc
@pytest.mark.parametrize("source", sorted(instances()))
def test_registers_suffice(source):
    """No local memory, which is as slow as the device's: no arrays that need an address and no registers spilled."""
    limit = max((int(n) for text in with_headers(source) for n in ALLOWED.findall(text)), default=0)
    for name, frame, stores, loads, _ in frames(report(source)):
        assert frame <= limit, f"{name}: a stack frame of {frame} bytes"
        assert stores == loads == 0, f"{name}: {stores} bytes of registers spilled, {loads} read again"


@pytest.mark.parametrize("path", sorted(module.SOURCES.glob("*.cu*")), ids=lambda p: p.name)
def test_sources_need_no_library(path):
    """Headers of the host are not there for those who have CuPy only."""
    text = path.read_text()
    for name in re.findall(r'^\s*#\s*include\s*["<]([^">]+)[">]', text, re.MULTILINE):
        assert name in HEADERS or (module.SOURCES / name).exists(), f"{path.name} includes {name}"
    code = re.sub(r"//.*|/\*.*?\*/|\"[^\"\n]*\"", "", text)
    host = re.findall(r"\bu?int(?:8|16|32|64|ptr)_t\b|\bstd::\w+|\b(?:FLT|DBL|INT|LLONG)_(?:MAX|MIN)\b|\bM_PI\b", code)
    assert not host, f"{path.name} uses {sorted(set(host))}, which NVRTC does not know by itself"


def test_every_source_is_used():
    """A source that no family names is compiled by nobody."""
    assert {p.name for p in module.SOURCES.glob("*.cu")} == set(instances())
