"""Where no GPU can be used: what is missing is named, with the cure, and "auto" goes on without.

Drivers and CuPys that are not here are stood in for by modules that answer as the real ones do; the errors are those
that CuPy 14 raises.
"""

import logging
import os
import subprocess
import sys
import types

import numpy as np
import pytest

import neurograph as ng
from neurograph import backends, cli
from neurograph.backends import device

pytestmark = pytest.mark.nojit

GIB = 2**30


class CUDARuntimeError(RuntimeError):
    """As CuPy's: a number and a sentence."""

    def __init__(self, status, text):
        self.status = status
        super().__init__(text)


class CompileException(Exception):
    """As CuPy's."""


class Runtime(types.ModuleType):
    """CUDA's runtime and the driver under it, in good health unless told otherwise."""

    is_hip = False

    def __init__(self, devices=1, driver=13000, capability=(9, 0), error=None, current=0):
        super().__init__("cupy_backends.cuda.api.runtime")
        self.devices, self.driver, self.capability = devices, driver, capability
        self.error, self.current = error, current

    def getDeviceCount(self):
        if self.error is not None:
            raise self.error
        return self.devices

    def getDevice(self):
        return self.current

    def getDeviceProperties(self, number):
        return {"name": b"NVIDIA H100", "major": self.capability[0], "minor": self.capability[1]}

    def driverGetVersion(self):
        return self.driver

    def runtimeGetVersion(self):
        return 12090

    def memGetInfo(self):
        return 70 * GIB, 80 * GIB


def cupy_with(runtime, trial=None, limit=0, blas=True, tensor=None):
    """A module that answers as CuPy does, with a `runtime`; ``trial`` is what compiling raises, or a kernel writes."""

    class Kernel:
        def __call__(self, grid, block, arguments):
            arguments[0].values[:] = np.arange(32) if trial is None else trial

    class Module:
        def __init__(self, code, options):
            for raised, source in ((trial, device.TRIAL), (tensor, device.TENSOR_TRIAL)):
                if code == source and isinstance(raised, Exception):
                    raise raised

        def get_function(self, name):
            return Kernel()

    class Zeros:
        def __init__(self, count, dtype):
            self.values = np.zeros(count, dtype)

        def get(self):
            return self.values

    class Pool:
        def free_bytes(self):
            return 2 * GIB

        def used_bytes(self):
            return 4 * GIB

        def get_limit(self):
            return limit

    class Device:
        def __init__(self, number):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    cupy = types.ModuleType("cupy")
    cupy.cuda = types.SimpleNamespace(runtime=runtime, Device=Device, cublas=object())
    if not blas:
        del cupy.cuda.cublas
    cupy.RawModule, cupy.zeros, cupy.get_default_memory_pool = Module, Zeros, Pool
    return cupy


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A function that makes this look like a machine with a driver, devices and CuPys; at first one with nothing."""

    def become(cupy=None, driver=None, wheels=(), finder=None):
        monkeypatch.setattr(device, "_driver", lambda: driver)
        monkeypatch.setattr(device, "_gpu_in_sight", lambda: driver is not None)
        monkeypatch.setattr(device, "_version", lambda wheel: "14.2.0" if wheel in wheels else None)
        if cupy is None:
            monkeypatch.delitem(sys.modules, "cupy", raising=False)
        else:
            monkeypatch.setitem(sys.modules, "cupy", cupy)
        monkeypatch.setattr(device.util, "find_spec", finder or (lambda name: None))
        forget()

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    become()
    yield become
    forget()


def forget():
    """What was found on one machine is not true of the next."""
    for kept in (device._look, device.tensor_problem, device.header_options, backends._tell):
        kept.cache_clear()


def large(**options):
    """A network that a GPU would pay for."""
    return ng.topologies.layered([backends.PAYS // 10, 10], seed=0, **options)


CASES = {
    "nothing": ({}, ["CuPy is not installed", "no NVIDIA driver", "pip install"]),
    "a driver for CUDA 13, no CuPy": (
        {"driver": 13000},
        ["CuPy is not installed", 'pip install "cupy-cuda13x[ctk]"', "supports CUDA 13.0"],
    ),
    "a driver for CUDA 12, no CuPy": ({"driver": 12080}, ['pip install "cupy-cuda12x[ctk]"', "supports CUDA 12.8"]),
    "an old driver, no CuPy": ({"driver": 11080}, ["install a driver for CUDA 12 or later", "CUDA 11.8"]),
    "no driver": (
        {
            "cupy": cupy_with(Runtime(driver=0, error=CUDARuntimeError(35, "cudaErrorInsufficientDriver: ..."))),
            "wheels": ["cupy-cuda12x"],
        },
        ["no NVIDIA driver", "install the driver"],
    ),
    "CuPy for another CUDA than the driver": (
        {
            "cupy": cupy_with(Runtime(driver=12040, error=CUDARuntimeError(35, "cudaErrorInsufficientDriver: ..."))),
            "driver": 12040,
            "wheels": ["cupy-cuda13x"],
        },
        ["built for CUDA 12.9", "supports only CUDA 12.4", 'pip install "cupy-cuda12x[ctk]"'],
    ),
    "the driver finds none": (
        {"cupy": cupy_with(Runtime(error=CUDARuntimeError(100, "cudaErrorNoDevice: no CUDA-capable device")))},
        ["finds no GPU", "nvidia-smi"],
    ),
    "none counted": ({"cupy": cupy_with(Runtime(devices=0))}, ["finds no GPU"]),
    "too old": ({"cupy": cupy_with(Runtime(capability=(6, 1)))}, ["NVIDIA H100", "capability 6.1", "need 7.0"]),
    "an AMD build": (
        {"cupy": cupy_with(type("Hip", (Runtime,), {"is_hip": True})())},
        ["AMD", 'pip install "cupy-cuda12x[ctk]"'],
    ),
    "no compiler library": (
        {
            "cupy": cupy_with(Runtime(), trial=RuntimeError('Failure finding "libnvrtc.so.12": No such file')),
            "wheels": ["cupy-cuda13x"],
        },
        ["NVRTC", "libnvrtc.so.12", 'pip install "cupy-cuda13x[ctk]"'],
    ),
    "no headers": (
        {
            "cupy": cupy_with(
                Runtime(),
                trial=CompileException('a.cu(2): catastrophic error: could not open source file "cuda_bf16.h" (no'),
            ),
            "wheels": ["cupy-cuda12x"],
        },
        ["headers", "cuda_bf16.h", 'pip install "cupy-cuda12x[ctk]"', "CUDA_PATH"],
    ),
    "no cuBLAS": (
        {"cupy": cupy_with(Runtime(), blas=False), "wheels": ["cupy-cuda12x"]},
        ["cuBLAS", 'pip install "cupy-cuda12x[ctk]"'],
    ),
    "compiles nothing": (
        {"cupy": cupy_with(Runtime(), trial=CompileException("nvrtc: error: invalid value for --gpu-architecture"))},
        ["invalid value for --gpu-architecture"],
    ),
    "computes nothing": ({"cupy": cupy_with(Runtime(), trial=7)}, ["wrong numbers", "nvidia-smi"]),
    "exclusive mode": (
        {"cupy": cupy_with(Runtime(error=CUDARuntimeError(46, "cudaErrorDevicesUnavailable: busy")))},
        ["exclusive mode", "cudaErrorDevicesUnavailable"],
    ),
    "a forked process": (
        {"cupy": cupy_with(Runtime(error=CUDARuntimeError(3, "cudaErrorInitializationError: initialization error")))},
        ["fork", "spawn"],
    ),
    "anything else": (
        {"cupy": cupy_with(Runtime(error=CUDARuntimeError(803, "cudaErrorSystemDriverMismatch: mismatch")))},
        ["cudaErrorSystemDriverMismatch", "nvidia-smi"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_missing_is_named_with_the_cure(machine, case):
    given, words = CASES[case]
    machine(**given)
    with pytest.raises(ng.NotSupportedError) as refused:
        ng.Network(backend="gpu")
    message = str(refused.value)
    assert message.startswith('backend "gpu" cannot run here: ')
    assert '"cpu"' in message and "\n" not in message
    for word in words:
        assert word in message
    assert "gpu" not in ng.available_backends()


@pytest.mark.parametrize("value", ["", "-1", "7"])
def test_a_hidden_gpu_names_the_variable_that_hides_it(machine, monkeypatch, value):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    machine(cupy=cupy_with(Runtime(error=CUDARuntimeError(100, "cudaErrorNoDevice: no CUDA-capable device"))))
    assert f"CUDA_VISIBLE_DEVICES is {value!r}" in device.problem()


def test_a_cupy_that_cannot_be_imported(machine, tmp_path, monkeypatch):
    """Whatever it raises, with its last words."""
    (tmp_path / "cupy.py").write_text(
        "raise ImportError('''\n=====\nFailed to import CuPy.\n\nOriginal error:\n"
        "  ImportError: libcublas.so.12: cannot open shared object file\n=====\n''')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    machine(driver=13000, wheels=["cupy-cuda12x"], finder=lambda name: name)
    assert "cupy-cuda12x is installed but cannot be imported" in device.problem()
    assert "libcublas.so.12: cannot open shared object file" in device.problem()
    assert 'pip install "cupy-cuda13x[ctk]"' in device.problem()
    (tmp_path / "cupy.py").write_text("raise OSError('half a file')")
    sys.modules.pop("cupy", None)
    device._look.cache_clear()
    assert "OSError: half a file" in device.problem()


def test_the_emulation_of_the_tests_is_no_gpu(machine):
    fake = cupy_with(Runtime())
    fake.cuda.runtime.__name__ = "tests.emulation.runtime"
    machine(cupy=fake)
    assert "emulates" in device.problem()
    with pytest.raises(ng.NotSupportedError, match="no GPU"):
        backends.resolve("gpu")
    assert backends.resolve("auto", 10**9) == "cpu"


def test_a_gpu_is_found_and_described(machine, capsys):
    machine(cupy=cupy_with(Runtime(current=1)), driver=13000, wheels=["cupy-cuda13x"])
    assert device.problem() is None
    assert (device.number(), device.name(), device.capability()) == (1, "NVIDIA H100", (9, 0))
    assert device.memory() == (72 * GIB, 80 * GIB)
    assert ng.available_backends() == ("reference", "cpu", "gpu")
    assert backends.resolve("gpu") == "gpu"
    assert cli.main(["info"]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["gpu"] == "NVIDIA H100, compute capability 9.0, 72.0 of 80.0 GiB of memory free"
    assert rows["cupy"] == "14.2.0 (cupy-cuda13x)"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"capability": (7, 5)}, ["NVIDIA H100", "8.0"]),
        ({"tensor": 12}, ["crt/mma.h", 'pip install "cuda-toolkit[nvcc]==12.*"', "CUDA_PATH"]),
        ({"tensor": 13}, ["crt/mma.h", 'pip install "cuda-toolkit[crt]==13.*"']),
    ],
    ids=["too old", "no headers, CUDA 12", "no headers, CUDA 13"],
)
def test_a_gpu_is_used_without_tensor_cores(machine, capsys, given, words):
    missing = CompileException('mma.h(55): catastrophic error: cannot open source file "crt/mma.h"')
    runtime = Runtime(capability=given.get("capability", (9, 0)))
    cuda = given.get("tensor")
    machine(cupy=cupy_with(runtime, tensor=missing if cuda else None), wheels=[f"cupy-cuda{cuda}x"])
    assert device.problem() is None
    assert cli.main(["info"]) == 0
    out = capsys.readouterr().out
    for word in ("no tensor cores", *words):
        assert word in out


def test_headers_of_wheels_that_cupy_does_not_know(machine, tmp_path):
    """CUDA 12's wheels put them into a folder of their own."""
    package = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    machine(finder=lambda name: package if name == "nvidia" else None)
    assert device.header_options() == ()
    folder = tmp_path / "cuda_nvcc" / "include" / "crt"
    folder.mkdir(parents=True)
    (folder / "mma.h").touch()
    device.header_options.cache_clear()
    assert device.header_options() == (f"-I{folder.parent}",)


def test_free_memory_respects_the_limit_of_the_pool(machine):
    machine(cupy=cupy_with(Runtime(), limit=10 * GIB))
    assert device.memory() == (6 * GIB, 80 * GIB)


def test_info_says_why_there_is_none(machine, capsys):
    machine(driver=12080)
    assert cli.main(["info"]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["gpu"] == f"none: {device.problem()}"
    assert (rows["cupy"], rows["backends"]) == ("not installed", "reference, cpu")


def test_the_look_is_taken_once(machine):
    """Asking again costs nothing."""
    looks = []
    machine(finder=lambda name: looks.append(name))
    for _ in range(3):
        assert device.problem()
    assert looks == ["cupy"]


def test_a_forked_process_does_not_use_what_its_parent_found(machine, monkeypatch):
    machine(cupy=cupy_with(Runtime()))
    assert device.problem() is None
    monkeypatch.setattr(device.os, "getpid", lambda: -1)
    assert "spawn" in device.problem()


def test_a_small_network_does_not_import_an_installed_cupy(tmp_path):
    """Nor does importing neurograph; asking for the backends does."""
    (tmp_path / "cupy.py").write_text("print('imported'); raise ImportError")
    code = """
import sys, neurograph as ng
net = ng.topologies.layered([4, 3, 2], backend=sys.argv[1])
net.predict([[1.0, 2.0, 3.0, 4.0]])
print("ran")
print("gpu" in ng.available_backends())
"""
    path = os.pathsep.join([str(tmp_path), ng.__path__[0] + "/..", os.environ.get("PYTHONPATH", "")])
    for backend in ("auto", "reference"):
        done = subprocess.run(
            [sys.executable, "-c", code, backend],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            check=True,
        )
        assert done.stdout.split() == ["ran", "imported", "False"]


def test_auto_takes_a_gpu_where_it_pays(machine):
    machine(cupy=cupy_with(Runtime()))
    small, net = ng.topologies.layered([4, 3, 2]), large()
    assert (small.backend_name, small.runs_on, net.runs_on) == ("auto", "cpu", "gpu")
    deep = ng.topologies.layered([backends.PAYS // 10, *[10] * 20])
    assert deep.runs_on == "cpu", "as many connections, but launches for twenty generations"


def test_auto_stays_on_the_gpu_until_half_of_what_pays(machine):
    """So that a network around the limit does not go back and forth."""
    machine(cupy=cupy_with(Runtime()))
    net = large()
    assert net.runs_on == "gpu"
    for share, place in ((0.6, "gpu"), (0.4, "cpu"), (0.6, "cpu")):
        missing = net.n_connections - round(share * backends.PAYS)
        if missing > 0:
            net.prune(net.connections[:missing])
        else:
            net.grow(net.inputs, net.outputs, -missing)
        net.outputs.activation = "tanh"  # which lowers the plan anew
        assert net.runs_on == place


def test_auto_looks_for_no_gpu_for_a_small_network(machine):
    machine(finder=lambda name: pytest.fail("looked"))
    net = ng.topologies.layered([4, 3, 2])
    net.predict(np.ones((1, 4)))
    assert net.runs_on == "cpu"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, 0),
        ({"driver": 13000}, 1),
        ({"cupy": cupy_with(Runtime(devices=0)), "wheels": ["cupy-cuda12x"]}, 1),
    ],
    ids=["no GPU", "a GPU without CuPy", "CuPy without a GPU"],
)
def test_auto_says_once_why_it_runs_on_the_cpu(machine, caplog, given, told):
    machine(**given)
    for _ in range(3):
        assert large().runs_on == "cpu"
    assert [r.name for r in caplog.records] == ["neurograph"] * told
    for record in caplog.records:
        assert record.levelno == logging.WARNING
        assert 'backend "auto" runs on the CPU' in record.message and device.problem() in record.message


def test_a_network_of_a_gpu_is_loaded_where_there_is_none(machine, caplog, tmp_path):
    machine(cupy=cupy_with(Runtime()))
    net = ng.topologies.layered([4, 3, 2], seed=1, backend="gpu")
    net.save(tmp_path / "net.ng")
    net.backend_name = "cpu"
    small = net.quantize("int8")
    small.backend_name = "gpu"
    small.save(tmp_path / "small.ng")
    assert ng.load(tmp_path / "net.ng").backend_name == "gpu"
    assert not caplog.records
    machine()
    again, frozen = ng.load(tmp_path / "net.ng"), ng.load(tmp_path / "small.ng")
    ng.load(tmp_path / "net.ng")
    assert (again.backend_name, again.runs_on, frozen.backend_name) == ("auto", "cpu", "auto")
    assert len(caplog.records) == 1
    assert 'backend "gpu"' in caplog.text and "CuPy is not installed" in caplog.text
    X = np.linspace(-1, 1, 12).reshape(3, 4)
    np.testing.assert_array_equal(again.predict(X), net.predict(X))
    np.testing.assert_array_equal(frozen.predict(X), net.quantize("int8").predict(X))


def test_auto_is_saved_as_auto(tmp_path):
    net = ng.topologies.layered([4, 3, 2])
    net.save(tmp_path / "net.ng")
    assert ng.load(tmp_path / "net.ng").backend_name == "auto"


def test_another_backend_may_be_set_at_any_time():
    net = ng.topologies.layered([4, 3, 2], seed=0)
    here = net.predict(np.ones((1, 4)))
    net.backend_name = "reference"
    assert net.runs_on == "reference" and net.backend.__name__.endswith("reference")
    np.testing.assert_allclose(net.predict(np.ones((1, 4))), here, rtol=1e-6)


def test_unknown_backends_are_refused_with_those_known():
    with pytest.raises(ng.UnknownNameError, match="known: auto, reference, cpu, gpu"):
        ng.Network(backend="tpu")


def test_without_a_driver_nothing_is_in_sight(monkeypatch):
    """The true look at this machine's driver library agrees with itself, and raises nothing."""
    monkeypatch.undo()
    forget()
    assert device._driver() is None or device._driver() > 1000
    monkeypatch.setattr(device, "_library", lambda: "libno_such_driver.so.1")
    assert device._driver() is None
    assert not device._gpu_in_sight()
