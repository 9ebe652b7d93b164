"""Coverage-centric selection's pickles, read without running anything: only tensors and arrays are admitted."""

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from tdds.sources.numbered import NumberedFiles
from tdds.sources.spooled import Rows, SpooledTrajectory
from tdds.validation import KINDS, TrajectoryError, check_choice, check_no_pipe

_STORAGES = {
    "HalfStorage": np.float16,
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "ByteStorage": np.uint8,
    "ShortStorage": np.int16,
    "IntStorage": np.int32,
    "LongStorage": np.int64,
}


class CCSLogs(SpooledTrajectory):
    """What coverage-centric selection (CCS) logs: ``td-NAME.pickle``, or a folder of ``td-NAME-epoch-{t}.pickle``.

    A list of batches, each with its epoch, the samples (``idx``) and the logarithms of their probabilities
    (``output``, float16). A file is held in memory once, while it is parsed.
    """

    pattern = r"td-.*-epoch-(\d+)\.pickle"

    def __init__(self, path: Path, *, kind: str | None = None, missing: str = "error") -> None:
        super().__init__(missing=missing)
        self.name = str(path)
        self.kind = kind or "log_probs"
        check_choice("kind", self.kind, KINDS[:3])
        self._files = NumberedFiles(path, self.pattern) if path.is_dir() else path
        if isinstance(self._files, NumberedFiles):
            self.n_epochs = self._files.n_epochs
        else:
            self._fill(0)
            self.n_epochs = len(list(self.path.glob("*_Output.npy")))
        self._measure()

    def paths_read(self) -> list[Path]:
        return self._files.paths() if isinstance(self._files, NumberedFiles) else [self._files]

    def parse(self, epoch: int) -> Iterator[Rows]:
        if isinstance(self._files, NumberedFiles):
            for _, samples, values in _batches(self._files.path(epoch)):
                yield epoch, samples, values, None
            return
        previous = None
        for t, (logged, group) in enumerate(groupby(_batches(self._files), key=itemgetter(0))):
            if previous is not None and logged != previous + 1:
                raise TrajectoryError(f"{self.name}: epoch {logged} follows epoch {previous}; expected {previous + 1}.")
            previous = logged
            for _, samples, values in group:
                yield t, samples, values, None


def _batches(path: Path) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Epoch, samples and values of each batch that the file at `path` holds, in order."""
    held = read_pickle(path)
    batches = held.get("training_dynamics") if isinstance(held, dict) else None
    if not isinstance(batches, list):
        found = ", ".join(map(str, held)) if isinstance(held, dict) else type(held).__name__
        raise TrajectoryError(f"{path}: expected 'training_dynamics', a list of batches; it holds {found[:200]}.")
    for n, batch in enumerate(batches):
        try:
            epoch, samples, values = batch["epoch"], batch["idx"], batch["output"]
            if not (samples.dtype.kind in "iu" and values.dtype.kind == "f" and samples.shape == values.shape[:1]):
                raise TypeError(f"idx {samples.dtype} {samples.shape}, output {values.dtype} {values.shape}")
        except (KeyError, TypeError, AttributeError) as error:
            raise TrajectoryError(
                f"{path}: batch {n} is no epoch, idx (n,) and output (n, n_classes): {error!r}."
            ) from None
        yield epoch, samples, values


def read_pickle(path: Path) -> Any:
    """What a pickle holds, tensors as arrays.

    Raises
    ------
    TrajectoryError
        It is damaged, or names anything but tensors and arrays; nothing that it names is run.
    """
    check_no_pipe(path)
    try:
        with open(path, "rb") as file:
            return TensorUnpickler(file).load()
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise TrajectoryError(f"{path}: cannot be read as a pickle of tensors: {error}") from error


class TensorUnpickler(pickle.Unpickler):
    """Builds containers, numbers, text, NumPy arrays and CPU tensors (as arrays).

    What a pickle names is looked up in the table below and nowhere else. Bound methods stand for functions, because a
    pickle may set attributes of whatever it gets hold of.
    """

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core", "numpy._core")
        admitted: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch.storage", "_load_from_bytes"): self._storage,
            ("numpy", "ndarray"): "ndarray",  # what `_reconstruct` is told to make, and nothing that can be called
            ("numpy", "dtype"): np.dtype,
            ("numpy._core.multiarray", "_reconstruct"): self._empty_array,
            ("numpy._core.numeric", "_frombuffer"): self._array,
        }
        if module == "torch" and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        if (module, name) not in admitted:
            raise pickle.UnpicklingError(f"it names {module}.{name}; only tensors and arrays are read.")
        return admitted[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """The type of a storage; its bytes follow the pickle."""
        kind, dtype, *_ = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"it names {kind!r}; only storages of tensors are read.")
        return dtype

    def _storage(self, raw: bytes) -> np.ndarray:
        """A storage as ``torch.save`` wrote it: magic number, version, machine, type, keys, length, values."""
        file = io.BytesIO(raw)
        for _ in range(3):
            type(self)(file).load()
        dtype = type(self)(file).load()
        type(self)(file).load()
        (n_values,) = struct.unpack("<q", file.read(8))
        return np.frombuffer(raw, dtype=dtype, count=n_values, offset=file.tell())

    def _tensor(self, storage: np.ndarray, offset: int, size: Any, stride: Any, *_: Any) -> np.ndarray:
        steps = [step * storage.itemsize for step in stride]
        return np.ndarray(size, storage.dtype, storage, offset * storage.itemsize, steps)  # checks its bounds

    def _empty_array(self, kind: Any, shape: Any, typecode: Any) -> np.ndarray:
        return np.empty(0)  # BUILD gives it shape, type and values

    def _array(self, raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
        return np.frombuffer(raw, dtype=dtype).reshape(shape, order=order)
