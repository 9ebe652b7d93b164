"""What every source is: a trajectory, and how stored values become floats."""

import contextlib
import copy
import hashlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tdds import store
from tdds.validation import KINDS, TrajectoryError, check_choice, check_ids, check_labels

#: ``read(start, stop, epoch, out)`` fills `out`, (stop - start, E, n_classes), or (stop - start, E) for losses, with
#: epochs epoch ... epoch + E - 1 of samples start ... stop - 1. `out` is of the trajectory's `buffer_dtype`, or of any
#: float type that its values fit.
Read = Callable[[int, int, int, np.ndarray], None]


class Trajectory(ABC):
    """What a model said of every sample at every epoch.

    Attributes
    ----------
    n_samples : int
    n_epochs : int or None
        None for a stream whose end is not known.
    n_classes : int or None
        None where the values are per-sample losses.
    kind : {"probs", "logits", "log_probs", "losses"}
    dtype : str
        NumPy's name of the stored type, or "bfloat16" or "log8".
    labels : (n_samples,) int64 array or None
    ids : (n_samples,) array or None
        The samples' names.
    name : str
        Path, or what the values came in.
    chunk : (int, int)
        Samples and epochs that are cheapest to read together.
    first : int
        The number of the first sample in the trajectory that this is a part of, else 0.
    skipped : tuple of int
        Epochs of the source, as it counts them, that are damaged and were not read, or not all of them.
    """

    n_samples: int
    n_epochs: int | None
    n_classes: int | None
    kind: str
    dtype: str
    name: str
    labels: np.ndarray | None = None
    ids: np.ndarray | None = None
    first: int = 0
    skipped: tuple[int, ...] = ()
    _state: dict[Path, tuple[int, ...]] | None = None

    @property
    def chunk(self) -> tuple[int, int]:
        return 1, 1

    @property
    def buffer_dtype(self) -> np.dtype:
        """What values are read as: as they are stored where `store.widen` takes that, else float64."""
        return np.dtype(store.STORED.get(self.dtype, "float64"))

    def holds(self, epoch: int) -> bool:
        """Whether `epoch` is there."""
        return self.n_epochs is None or epoch < self.n_epochs

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Of what an epoch holds of a sample: (n_classes,), or () of a loss."""
        return () if self.n_classes is None else (self.n_classes,)

    @abstractmethod
    def reader(self) -> AbstractContextManager[Read]:
        """Open the source; the context's value is a `Read`."""

    def paths_read(self) -> list[Path]:
        """The files that are read, as far as they are known; none for what lies in memory."""
        return []

    def state(self) -> dict[Path, tuple[int, ...]]:
        """Inode, size and time of the last change of each file; nothing of one that is not to be had."""
        found: dict[Path, tuple[int, ...]] = {}
        for path in self.paths_read():
            with contextlib.suppress(OSError):  # what is wrong with it is said when it is read
                stat = path.stat()
                found[path] = stat.st_ino, stat.st_size, stat.st_mtime_ns
        return found

    def check_unchanged(self) -> None:
        """Raise where a file is no longer the one of the first call, which `open_trajectory` makes.

        Raises
        ------
        TrajectoryError
            A file was written to, replaced by another, or is gone.
        """
        found = self.state()
        expected = self._state = found if self._state is None else self._state
        if changed := [path for path in self.paths_read() if found.get(path) != expected.get(path)]:
            what = "was changed or replaced" if changed[0] in found else "is gone"
            raise TrajectoryError(f"{changed[0]}: {what} since it was opened; open it and score again.")

    @contextmanager
    def in_runs(self, folder: Path) -> Iterator["Trajectory"]:
        """What is best read in many blocks of few samples: this, or for logs in arrival order a copy in `folder`."""
        yield self

    def name_samples(self, labels: Any = None, ids: Any = None) -> None:
        """Take `labels` and `ids`, each where it is given, one a sample."""
        if labels is not None:
            self.labels = check_labels(labels, self.n_samples, self.n_classes, self.n_epochs)
        if ids is not None:
            self.ids = check_ids(ids, self.n_samples)

    @contextmanager
    def leaving_out(self, what: str) -> Iterator[None]:
        """Warn of the labels or ids beside a stranger's values that cannot be used, and go on without them."""
        try:
            yield
        except ValueError as error:
            warnings.warn(f"{self.name}: the {what} beside it are left out; {error}", RuntimeWarning, stacklevel=2)

    def part(self, start: int, stop: int) -> "Trajectory":
        """Samples `start` ... `stop` - 1 as a trajectory: pickled, it takes no more than they need."""
        return _Part(self, start, stop)

    def carried(self, start: int, stop: int) -> tuple["Trajectory", int]:
        """What a pickled `part` takes along, and where `start` is in it; here a copy without labels and ids."""
        bare = copy.copy(self)
        bare.labels = bare.ids = bare._state = None
        return bare, start

    def fingerprint(self, n_epochs: int | None = None) -> str:
        """Short hash of the shape, the kind and the first `n_epochs` of eight samples, spread over the data."""
        shape = (self.n_samples, n_epochs or self.n_epochs, self.n_classes)
        digest = hashlib.sha256(f"{shape} {self.kind} {self.dtype}".encode())
        values = np.empty((1, *(size for size in shape[1:] if size is not None)))
        with self.reader() as read:
            for sample in np.linspace(0, self.n_samples - 1, num=min(8, self.n_samples), dtype=int).tolist():
                read(sample, sample + 1, 0, values)
                digest.update(values.tobytes())
        return digest.hexdigest()[:16]

    def __repr__(self) -> str:
        epochs = "unknown" if self.n_epochs is None else self.n_epochs
        classes = "" if self.n_classes is None else f" x {self.n_classes} classes"
        named = "".join(f", {what}" for what in ("labels", "ids") if getattr(self, what) is not None)
        return (
            f"<{type(self).__name__} {self.name}: {self.n_samples} samples x {epochs} epochs{classes}, "
            f"{self.dtype} {self.kind}{named}>"
        )


class _Part(Trajectory):
    def __init__(self, whole: Trajectory, start: int, stop: int) -> None:
        self.n_samples, self.n_epochs, self.n_classes = stop - start, whole.n_epochs, whole.n_classes
        self.kind, self.dtype, self.name = whole.kind, whole.dtype, whole.name
        self.labels = None if whole.labels is None else whole.labels[start:stop]
        self.first = start
        self._held, self._offset = whole, start

    def __getstate__(self) -> dict[str, Any]:
        held, offset = self._held.carried(self._offset, self._offset + self.n_samples)
        return self.__dict__ | {"_held": held, "_offset": offset}

    @property
    def chunk(self) -> tuple[int, int]:
        return self._held.chunk

    def holds(self, epoch: int) -> bool:
        return self._held.holds(epoch)

    @contextmanager
    def reader(self) -> Iterator[Read]:
        offset = self._offset
        with self._held.reader() as read:
            yield lambda start, stop, epoch, out: read(offset + start, offset + stop, epoch, out)


def as_array(values: Any) -> Any:
    """`values` as something with shape, dtype and slices: sliceable arrays as they are, numbers as float64."""
    if hasattr(values, "detach"):  # a torch tensor, which NumPy reads only on the CPU, without gradient or bfloat16
        values = values.detach().cpu()
        values = values.float().numpy() if "bfloat16" in str(values.dtype) else values.numpy()
    if (
        not isinstance(values, np.ndarray)
        and hasattr(values, "shape")
        and hasattr(values, "dtype")
        and hasattr(values, "ndim")
    ):
        if not hasattr(values, "toarray"):
            return values
        raise TypeError("A trajectory cannot be sparse; pass a dense array.")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise TrajectoryError(f"The trajectory is ragged: {error}") from None
    if array.dtype.kind == "c":
        raise ValueError("Complex data not supported: a trajectory holds probabilities, logits or losses.")
    if array.dtype.kind in "biuOUS" and array.dtype.name != "bfloat16":
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"A trajectory holds numbers; got {type(values).__name__} of {array.dtype} ({error})."
            ) from None
    return array


def resolve_axes(axes: str | None, n_axes: int) -> str:
    choices = ("NTC", "TNC", "NCT", "TCN", "CNT", "CTN") if n_axes == 3 else ("NT", "TN")
    if axes is None:
        return choices[0]
    without_classes = axes.replace("C", "") if n_axes == 2 and isinstance(axes, str) else axes
    check_choice("axes", without_classes, choices)
    return without_classes


def resolve_kind(kind: str | None, *, losses: bool, default: str) -> str:
    """What the values are: `kind`, or `default` where it is None; "losses" where they have no axis of classes."""
    if losses:
        if kind not in (None, "losses"):
            raise ValueError(
                f"kind={kind!r}, but values without an axis of classes are losses; leave kind out, or pass values of "
                "shape (n_samples, n_epochs, n_classes)."
            )
        return "losses"
    check_choice("kind", default if kind is None else kind, KINDS[:3])
    return default if kind is None else kind


def float_name(dtype: Any) -> str:
    """NumPy's name of `dtype`; whole numbers and truth values are read as float64."""
    name = "float64" if np.dtype(dtype).kind in "biu" else np.dtype(dtype).name
    if name not in ("float16", "bfloat16", "float32", "float64", "longdouble", "float128"):
        raise TypeError(f"A trajectory holds float16, bfloat16, float32 or float64; got {name}.")
    return name


def decode(values: np.ndarray, dtype: str, wanted: np.dtype) -> np.ndarray:
    """Stored values as what NumPy assigns to `wanted`, which is the stored type or a float."""
    if dtype not in ("bfloat16", "log8"):
        return values
    coded = values.view(store.STORED[dtype])
    return coded if wanted == coded.dtype else store.widen(coded)


def check_not_empty(trajectory: Trajectory) -> None:
    for axis in ("n_samples", "n_epochs", "n_classes"):
        if getattr(trajectory, axis) == 0:
            shape = (trajectory.n_samples, trajectory.n_epochs, trajectory.n_classes)[
                : 2 + (trajectory.n_classes is not None)
            ]
            unit = "sample(s)" if axis == "n_samples" else "feature(s)"
            raise TrajectoryError(
                f"{trajectory!r} has no {axis[2:]}: 0 {unit} (shape={shape}) while a minimum of 1 is required."
            )
