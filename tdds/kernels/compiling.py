"""How kernels are compiled."""

import numba

EPS = 1e-8

# No 'nnan' and no 'ninf': `row_sums` must show them. The flags of VALUEWISE leave no order of operations to the
# compiler, so a value gives the same bits in the vector loop as in its remainder, wherever it stands in a block.
VALUEWISE = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
OPTIONS = {**VALUEWISE, "fastmath": {"reassoc", "contract", "arcp", "nsz", "afn"}}

RUN = 1024  # values that a helper works on at once: its buffers stay in the first-level cache


def kernel(function=None, **options):
    """Compile `function` lazily, cached unless neither the package nor the home directory can be written."""
    if function is None:
        return lambda function: kernel(function, **options)
    try:
        return numba.njit(cache=True, **{**OPTIONS, **options})(function)
    except RuntimeError:
        return numba.njit(**{**OPTIONS, **options})(function)
