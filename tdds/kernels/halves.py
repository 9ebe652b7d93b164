"""float16 to float32 and back, exactly as IEEE 754 has it: by the processor's instruction, or by integer arithmetic."""

import platform
from typing import Any

import llvmlite.binding
import llvmlite.ir
import numba
import numpy as np
from numba.extending import intrinsic

from tdds.kernels.compiling import VALUEWISE, kernel


def _processor_converts() -> bool:
    """Whether the processor that Numba compiles for has the instruction; elsewhere LLVM calls a function not there."""
    config: Any = numba.config
    features = config.CPU_FEATURES
    if features is None:
        features = llvmlite.binding.get_host_cpu_features().flatten()
    return not config.DISABLE_JIT and ("+f16c" in features or platform.machine() in ("aarch64", "arm64"))


if _processor_converts():
    _HALF, _SINGLE = llvmlite.ir.HalfType(), llvmlite.ir.FloatType()

    @intrinsic
    def _widen(typing, bits):
        def extend(context, builder, signature, arguments):
            return builder.fpext(builder.bitcast(arguments[0], _HALF), _SINGLE)

        return numba.float32(numba.uint16), extend

    @intrinsic
    def _narrow(typing, value):
        def truncate(context, builder, signature, arguments):
            return builder.bitcast(builder.fptrunc(arguments[0], _HALF), llvmlite.ir.IntType(16))

        return numba.uint16(numba.float32), truncate

else:

    @kernel(**VALUEWISE)
    def _widen(bits):
        """A half is a float with three zeros less in its exponent."""
        half = np.int32(bits)
        size = np.int32(half & 0x7FFF)
        normal = np.int32((size << 13) + (112 << 23) + ((112 << 23) if size >= 0x7C00 else 0))
        subnormal = np.float32(np.float32(size) * np.float32(2.0**-24)).view(np.int32)
        return np.int32(((half & 0x8000) << 16) | (subnormal if size < 0x400 else normal)).view(np.float32)

    @kernel(**VALUEWISE)
    def _narrow(value):
        """0.5 has the exponent at which the last bit of a float is worth that of a subnormal half."""
        bits = np.float32(value).view(np.int32)
        size = np.int32(bits & 0x7FFFFFFF)
        odd = np.int32((size >> 13) & 1)
        normal = np.int32((size - (112 << 23) + 0xFFF + odd) >> 13)
        subnormal = np.int32(np.float32(size.view(np.float32) + np.float32(0.5)).view(np.int32) - (126 << 23))
        beyond = np.int32(0x7E00 if size > (255 << 23) else 0x7C00)
        half = subnormal if size < (113 << 23) else (normal if size < (143 << 23) else beyond)
        return np.uint16(((bits >> 16) & 0x8000) | half)


@kernel(**VALUEWISE)
def widen_float16(bits, out):
    """``out = bits`` of float16 as float32, exactly, subnormals, infinities and nan included.

    Parameters
    ----------
    bits : (n_values,) uint16 array
    out : (n_values,) float32 array
    """
    for j in range(bits.shape[0]):
        out[j] = _widen(bits[j])  # type: ignore[call-arg]


@kernel(**VALUEWISE)
def narrow_to_float16(values, out):
    """``out = values`` rounded to the nearest float16, ties to even; what is too large becomes infinite, nan stays.

    Parameters
    ----------
    values : (n_values,) float32 array
    out : (n_values,) uint16 array
        Bits of float16. NumPy's own cast takes a hundred times as long for values below 6e-5.
    """
    for j in range(values.shape[0]):
        out[j] = _narrow(values[j])  # type: ignore[call-arg]
