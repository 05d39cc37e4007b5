"""NVIDIA's runtimes by the names of their Python packages, and the GPU that is here, by the driver's own interface."""

from __future__ import annotations

import ctypes

from shared.bundle import Runtime

MODULES = {Runtime.TENSORRT_RTX: "tensorrt_rtx_bindings", Runtime.TENSORRT: "tensorrt"}

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_* of cuda.h


def gpu() -> int:
    """Generation (SM) of the first GPU; 0 where none answers."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    done = driver.cuInit(0) == 0 and driver.cuDeviceGet(ctypes.byref(device), 0) == 0
    done = done and driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device) == 0
    done = done and driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device) == 0
    return 10 * major.value + minor.value if done else 0
