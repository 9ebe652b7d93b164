"""Numba kernels: one kernel, one equation. Arrays in, arrays out.

Every kernel takes C-contiguous arrays and fills a preallocated ``out``, its last argument, in float64. Kernels are
serial and release the GIL: threads belong to the engine. They are compiled at their first call, per input dtype, and
cached on disk where the disk allows it.

Equation numbers are those of "Spanning Training Progress: Temporal Dual-Depth Scoring (TDDS) for Enhanced Dataset
Pruning", CVPR 2024. The logarithms hold ``EPS``, as in the authors' script; the paper writes none.
"""

from tdds.kernels.compiling import EPS
from tdds.kernels.differences import ce_differences, kl_differences, moving_average, windowed_mean, windowed_variance
from tdds.kernels.halves import narrow_to_float16, widen_float16
from tdds.kernels.statistics import correct, entropies, error_norms, label_probabilities, margins, top_margins
from tdds.kernels.stored import stored_kl_differences
from tdds.kernels.values import decode_log8, row_sums, softmax, widen_bfloat16

__all__ = [
    "EPS",
    "ce_differences",
    "kl_differences",
    "stored_kl_differences",
    "moving_average",
    "windowed_mean",
    "windowed_variance",
    "correct",
    "entropies",
    "error_norms",
    "label_probabilities",
    "margins",
    "top_margins",
    "narrow_to_float16",
    "widen_float16",
    "decode_log8",
    "row_sums",
    "softmax",
    "widen_bfloat16",
]
