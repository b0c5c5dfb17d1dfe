"""Whether a GPU can run networks here; if none can, what is missing and what to install.

CuPy is imported when somebody asks, never before, and not at all where it is not installed.
"""

from __future__ import annotations

import gc
import os
import sys
from functools import cache
from importlib import util
from typing import Any

from ..errors import InvalidValueError, NotSupportedError, OutOfMemoryError

# Shuffles and votes with a mask, and threads of a warp that advance on their own, came with Volta.
LEAST_CAPABILITY = (7, 0)
#: Distributions of which each brings the module cupy.
WHEELS = ("cupy-cuda12x", "cupy-cuda13x", "cupy-cuda11x", "cupy", "cupy-rocm-7-1", "cupy-rocm-7-0", "cupy-rocm-5-0")
# What the runtime calls its errors; CuPy has the numbers only.
INITIALIZATION, INSUFFICIENT_DRIVER, UNAVAILABLE, NO_DEVICE = 3, 35, 46, 100
TRIAL = """
#include <cuda_bf16.h>
extern "C" __global__ void number_of_thread(int* into) { into[threadIdx.x] = threadIdx.x; }
"""
TENSOR_CAPABILITY = (8, 0)  # bfloat16 and tf32 on tensor cores came with Ampere
TENSOR_TRIAL = """
#include <mma.h>
extern "C" __global__ void nothing() {}
"""


def problem() -> str | None:
    """Why no GPU can be used by this process, with the cure; None if one can.

    The first call looks: where CuPy is installed it imports it, asks the driver, and compiles and runs one line. The
    answer is kept.

    Examples
    --------
    >>> problem() is None or "install" in problem() or "CUDA" in problem()
    True
    """
    found = _look()
    if isinstance(found, str):
        return found
    if found[1] != os.getpid():
        return (
            "CUDA was initialized before this process was forked, and does not work in it; start processes with "
            'multiprocessing.get_context("spawn")'
        )
    return None


def require() -> None:
    """Refuse to go on without a GPU.

    Raises
    ------
    NotSupportedError
        With what is missing and what to install.
    """
    if (missing := problem()) is not None:
        raise NotSupportedError(f'backend "gpu" cannot run here: {missing}; or use backend="cpu" or "auto"')


def worth_telling() -> bool:
    """Whether somebody may have meant a GPU to be used: CuPy is installed, or there is an NVIDIA GPU."""
    return bool(installed()) or _gpu_in_sight()


def number() -> int:
    """The device that networks run on: the one that was current when one was first asked for."""
    found = _look()
    if isinstance(found, str):
        import cupy

        return cupy.cuda.runtime.getDevice()  # of what stands for a GPU in tests
    return found[0]


def name() -> str:
    """What the device is called."""
    return str(_properties()["name"], "utf-8")


def capability() -> tuple[int, int]:
    """Compute capability of the device: (9, 0) for an H100."""
    properties = _properties()
    return properties["major"], properties["minor"]


@cache
def tensor_problem() -> str | None:
    """Why tensor cores cannot be used on the device, with the cure; None if they can."""
    import cupy

    if capability() < TENSOR_CAPABILITY:
        return f"{name()} has none for bfloat16 and tf32, which came with compute capability 8.0 (Ampere)"
    try:
        cupy.RawModule(code=TENSOR_TRIAL, options=("-std=c++17", *header_options())).get_function("nothing")
    except Exception as error:
        part = "nvcc]==12.*" if any("12" in wheel for wheel in installed()) else "crt]==13.*"
        return (
            f'their headers cannot be used ({_short(error)}); pip install "cuda-toolkit[{part}", or set CUDA_PATH to '
            "the folder of a CUDA toolkit"
        )
    return None


@cache
def header_options() -> tuple[str, ...]:
    """Options for the compiler that name folders of headers which CuPy does not know: those of CUDA 12's wheels."""
    nvidia = util.find_spec("nvidia")
    folders = [] if nvidia is None else nvidia.submodule_search_locations or []
    paths = [os.path.join(folder, "cuda_nvcc", "include") for folder in folders]
    return tuple(f"-I{path}" for path in paths if os.path.exists(os.path.join(path, "crt", "mma.h")))


def memory() -> tuple[int, int]:
    """Bytes of the device that can still be taken, by CuPy out of its pool or from the driver; and all it has."""
    import cupy

    with cupy.cuda.Device(number()):
        free, total = cupy.cuda.runtime.memGetInfo()
        pool = cupy.get_default_memory_pool()
        free += pool.free_bytes()
        if limit := pool.get_limit():
            free = min(free, limit - pool.used_bytes())
    return max(0, free), total


def available() -> int:
    """Bytes that passes may still take."""
    return memory()[0]


def accept(X: Any) -> Any:
    """An array of CuPy that networks can read here.

    Raises
    ------
    InvalidValueError
        If it is in the memory of another GPU than the networks.
    """
    here = number()
    if X.device.id != here:
        raise InvalidValueError(
            f"X is on GPU {X.device.id}, but the network runs on GPU {here}; move it by "
            f"`with cupy.cuda.Device({here}): X = cupy.asarray(X)`, or make its GPU current before a network first runs"
        )
    return X


def ran_out(error: MemoryError) -> bool:
    """Whether it was the memory of the device."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(error, cupy.cuda.memory.OutOfMemoryError)


def release() -> None:
    """Give back to the driver what CuPy keeps in its pool for later."""
    import cupy

    gc.collect()
    cupy.get_default_memory_pool().free_all_blocks()


def too_small(error: Any) -> OutOfMemoryError:
    """What to raise where the device's memory ran out for good."""
    free, total = memory()
    return OutOfMemoryError(
        f"{error._size:,} bytes more of the GPU's memory are needed, of which {free:,} of {total:,} bytes are free; "
        "run fewer samples at a time (batch_size), free memory, or use a larger GPU; the weights are what they were"
    )


def installed() -> list[str]:
    """Installed distributions of CuPy; several of them get in each other's way."""
    return [wheel for wheel in WHEELS if _version(wheel) is not None]


def version() -> str | None:
    """Version of CuPy, without importing it; None where it is not installed."""
    return next((f"{v} ({wheel})" for wheel in WHEELS if (v := _version(wheel))), None)


@cache
def _look() -> str | tuple[int, int]:
    """What keeps a GPU from being used; or the number of the device, and of the process that found it."""
    if "cupy" not in sys.modules and util.find_spec("cupy") is None:
        return _without_cupy(_driver())
    try:
        import cupy
    except Exception as error:  # an ImportError as a rule, but libraries fail in many ways while they load
        return (
            f"{' and '.join(installed()) or 'CuPy'} is installed but cannot be imported ({_short(error)}): it is "
            f"incomplete or made for another CUDA; pip uninstall it, then {_install(_driver())}"
        )
    runtime = cupy.cuda.runtime
    if not runtime.__name__.startswith("cupy_backends."):
        return "what is imported as cupy emulates CUDA on the processor, for tests; it is no GPU: install CuPy"
    try:
        return _missing(cupy, runtime) or (runtime.getDevice(), os.getpid())
    except Exception as error:
        return _explained(error, runtime)


def _missing(cupy: Any, runtime: Any) -> str | None:
    """What is missing for a first kernel; errors of the driver go through."""
    if runtime.is_hip:
        return f"this CuPy is for AMD's GPUs, and the kernels are for NVIDIA's; {_install(_driver())}"
    if runtime.getDeviceCount() == 0:
        return _no_device()
    properties = runtime.getDeviceProperties(runtime.getDevice())
    capability = properties["major"], properties["minor"]
    if capability < LEAST_CAPABILITY:
        return (
            f"{str(properties['name'], 'utf-8')} has compute capability {capability[0]}.{capability[1]}, and the "
            f"kernels need {LEAST_CAPABILITY[0]}.{LEAST_CAPABILITY[1]} or more (Volta, 2017) for the shuffles that "
            "they use; choose a newer GPU by CUDA_VISIBLE_DEVICES"
        )
    try:
        kernel = cupy.RawModule(code=TRIAL, options=("-std=c++17",)).get_function("number_of_thread")
    except Exception as error:
        return _without_compiler(error)
    try:
        cupy.cuda.cublas  # noqa: B018  imported when it is named
    except Exception as error:
        return f"cuBLAS cannot be used ({_short(error)}); {_install(_driver(), installed())}"
    numbers = cupy.zeros(32, dtype="int32")
    kernel((1,), (32,), (numbers,))
    if numbers.get().tolist() != list(range(32)):
        return "a kernel of one line gave wrong numbers on this GPU; look at its health with nvidia-smi"
    return None


def _without_cupy(driver: int | None) -> str:
    if driver is None:
        return (
            f"CuPy is not installed, and no NVIDIA driver was found ({_library()} does not load); install the driver "
            f"of your GPU, then {_install(None)}"
        )
    return f"CuPy is not installed; {_install(driver)} (the driver here supports CUDA {_dotted(driver)})"


def _without_compiler(error: Exception) -> str:
    text = str(error)
    again = _install(_driver(), installed())
    if "could not open source file" in text or "cannot open source file" in text:
        return (
            f"CUDA's headers are missing ({_short(error)}); {again}, or set CUDA_PATH to the folder of a CUDA toolkit"
        )
    if isinstance(error, ImportError) or "nvrtc" in text.lower():
        return f"NVRTC, CUDA's compiler library, cannot be used ({_short(error)}); {again}"
    return f"a kernel of one line does not compile for this GPU ({_short(error)}); {again}"


def _explained(error: Exception, runtime: Any) -> str:
    """What an error of the runtime means before anything has run."""
    status = getattr(error, "status", None)
    if status == NO_DEVICE:
        return _no_device()
    if status == INSUFFICIENT_DRIVER:
        driver = runtime.driverGetVersion()
        if not driver:
            return (
                f"no NVIDIA driver was found ({_library()} does not load, or finds no GPU); install the driver of your "
                "GPU, or in a container start it with --gpus all"
            )
        built = _dotted(runtime.runtimeGetVersion())
        return (
            f"CuPy was built for CUDA {built}, but the driver here supports only CUDA {_dotted(driver)}; install a "
            f"newer driver, or {_install(driver)} in its place"
        )
    if status == UNAVAILABLE:
        return f"the GPU is taken by another process in exclusive mode ({_short(error)}); CUDA_VISIBLE_DEVICES chooses"
    if status == INITIALIZATION:
        return (
            f"CUDA could not be initialized ({_short(error)}): this process may be a fork of one that uses the GPU; "
            'start processes with multiprocessing.get_context("spawn")'
        )
    return f"the GPU cannot be used ({_short(error)}); see what nvidia-smi says, or install another driver"


def _no_device() -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return f"CUDA_VISIBLE_DEVICES is {visible!r}, which leaves no GPU in sight; unset it, or name one, such as 0"
    return "the NVIDIA driver finds no GPU; see what nvidia-smi says, and in a container start it with --gpus all"


def _install(driver: int | None, have: list[str] | None = None) -> str:
    """What to type for the CuPy that a driver can run, or for the rest of the one that is there."""
    if have:
        return f'pip install "{have[0]}[ctk]"'
    if driver is not None and driver < 12000:
        return 'install a driver for CUDA 12 or later and pip install "cupy-cuda12x[ctk]"'
    return f'pip install "cupy-cuda{12 if driver is None else min(driver // 1000, 13)}x[ctk]"'


def _driver() -> int | None:
    """The newest CUDA that the driver supports, 12080 for 12.8; None without a driver."""
    import ctypes

    found = ctypes.c_int()
    try:
        done = ctypes.CDLL(_library()).cuDriverGetVersion(ctypes.byref(found))
    except (OSError, AttributeError):
        return None
    return found.value if done == 0 and found.value else None


def _library() -> str:
    return "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def _gpu_in_sight() -> bool:
    """Whether the system has an NVIDIA GPU with a driver; without CuPy, and without initializing CUDA."""
    if sys.platform == "linux" and not any(os.path.exists(node) for node in ("/dev/nvidiactl", "/dev/dxg")):
        return False
    return _driver() is not None


def _properties() -> dict[str, Any]:
    import cupy

    return cupy.cuda.runtime.getDeviceProperties(number())


def _version(wheel: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(wheel)
    except metadata.PackageNotFoundError:
        return None


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _short(error: Exception) -> str:
    """An error in one line: of CuPy's long explanations the last says what happened."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and set(line) != {"="}]
    telling = [line for line in lines if "rror:" in line or "rror " in line]
    line = (telling[-1:] if isinstance(error, ImportError) else telling[:1]) or lines[:1]
    return f"{type(error).__name__}: {line[0][:200]}" if line else type(error).__name__
