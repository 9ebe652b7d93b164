"""How kernels are compiled."""

import os

import h5py  # noqa: F401  before `register_at_fork` below: the lock that is registered last is taken first
import numba
from numba.core.compiler_lock import global_compiler_lock

EPS = 1e-8

# No 'nnan' and no 'ninf': `row_sums` must show them. The flags of VALUEWISE leave no order of operations to the
# compiler, so a value gives the same bits in the vector loop as in its remainder, wherever it stands in a block.
VALUEWISE = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
OPTIONS = {**VALUEWISE, "fastmath": {"reassoc", "contract", "arcp", "nsz", "afn"}}

RUN = 1024  # values that a helper works on at once: its buffers stay in the first-level cache

# A user without a name, as in many a container, has no home: Numba would make a folder called "~" where it stands.
CACHE = bool(numba.config.CACHE_DIR) or os.path.isabs(os.path.expanduser("~"))  # type: ignore[attr-defined]

# A fork waits for a kernel that is being compiled. Its child would wait for Numba's lock, which no thread there holds,
# for ever. h5py does the same with its own, and may be entered while the compiler's is held: so this one comes first.
os.register_at_fork(
    before=global_compiler_lock.acquire,
    after_in_parent=global_compiler_lock.release,
    after_in_child=global_compiler_lock.release,
)


def kernel(function=None, **options):
    """Compile `function` lazily, cached unless there is no place for it."""
    if function is None:
        return lambda function: kernel(function, **options)
    try:
        return numba.njit(cache=CACHE, **{**OPTIONS, **options})(function)
    except RuntimeError:
        return numba.njit(**{**OPTIONS, **options})(function)
