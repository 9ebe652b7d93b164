"""Source x score -> one number a sample: one streaming pass, in blocks of samples x epochs.

Peak memory is set by `memory_limit`, not by the number of samples, epochs or classes. Blocks that are cheap to read
(all epochs of a few samples, or one epoch of all samples) are the source's to say; where a block holds fewer epochs
than count, the last epoch of one is the first of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs

from tdds import kernels
from tdds.scores import METHODS, TDDS, Score, Series
from tdds.sources import ArrayTrajectory, EpochStream, Read, Trajectory, as_array, open_trajectory
from tdds.validation import TrajectoryError, check_choice, check_labels, check_real, invalid_row, sum_tolerance

MEMORY_LIMIT = 256
"""Default bound of the engine's buffers, all threads together, in MiB."""

_BLOCK_BYTES = 1 << 22  # no larger than this where the source does not gain from it: blocks stay in the cache
_TILE_VALUES = 1 << 15  # values that are checked and scored at a time
_TASK_BYTES = 1 << 26  # a task is this much reading: small enough to show progress, large enough to start for


def score_trajectory(
    source: Any,
    y: Any = None,
    *,
    method: str = "tdds",
    T: int | None = None,
    K: int = 10,
    beta: float = 0.9,
    formulation: str = "paper",
    loss: str = "kl",
    magnitude: bool = True,
    axes: str | None = None,
    kind: str | None = None,
    missing: str = "error",
    memory_limit: float = MEMORY_LIMIT,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> np.ndarray:
    """Score every sample of a trajectory.

    Parameters
    ----------
    source : array, path, iterable of epochs or Trajectory
        Anything that `open_trajectory` opens; arrays are (n_samples, n_epochs, n_classes).
    y : (n_samples,) integers, optional
        Labels in [0, n_classes); needed by ``loss="ce"``. Left out, the source's own.
    method : {"tdds"}, default "tdds"
    T : int, optional
        Only the first T epochs count, later ones are not read; all where left out. At beta = 0.9 the last K of them
        carry 90 % of the score, so T decides *which stage of training* is looked at.
    K : int, default 10
        Width of a window, in epochs; at least 3.
    beta : float in [0, 1], default 0.9
        Weight of the newest window in Eq. 12; 0 is the simple average of all windows.
    formulation : {"paper", "reference", "datacull"}, default "paper"
        The paper's equations, what the authors' script computes (the absolute value of each class's term, the root of
        the sum of squares), or what datacull 1.0.2 computes (the first of these alone).
    loss : {"kl", "ce"}, default "kl"
        Eq. 10 or Eq. 9; a trajectory of logged losses ignores it.
    magnitude : bool, default True
        False takes signed differences (the paper's Fig. 6a).
    axes : str, optional
    kind : str, optional
    missing : str, default "error"
        These three as for `open_trajectory`.
    memory_limit : float, default 256
        Bound of the buffers, all threads together, in MiB.
    n_jobs : int, optional
        Threads, as in scikit-learn; a joblib backend in force takes the blocks elsewhere.
    verbose : int, default 0
        Above 0, a progress bar on the standard error.

    Returns
    -------
    (n_samples,) float64 array

    Raises
    ------
    TrajectoryError
        The source is damaged or incomplete, or holds rows that are no distributions: sample and epoch are named.
    ValueError, TypeError
        A parameter is out of range, or does not fit the trajectory.
    FileNotFoundError
        There is nothing at that path.

    References
    ----------
    X. Zhang et al., "Spanning Training Progress: Temporal Dual-Depth Scoring (TDDS) for Enhanced Dataset Pruning",
    CVPR 2024, Eq. 8 to 12.

    Examples
    --------
    >>> import numpy as np
    >>> from tdds import score_trajectory
    >>> probs = np.random.default_rng(0).dirichlet(np.ones(10), size=(100, 12))
    >>> score_trajectory(probs, K=5).shape
    (100,)
    """
    check_choice("method", method, tuple(METHODS))
    score = METHODS[method](T=T, K=K, beta=beta, formulation=formulation, loss=loss, magnitude=magnitude)
    trajectory = open_trajectory(source, axes=axes, kind=kind, missing=missing, labels=y)
    return compute_scores(trajectory, {method: score}, memory_limit=memory_limit, n_jobs=n_jobs, verbose=verbose)[
        method
    ]


def compute_scores(
    trajectory: Trajectory,
    scores: Mapping[str, Score],
    *,
    memory_limit: float = MEMORY_LIMIT,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> dict[str, np.ndarray]:
    """Several scores of one trajectory, by name, from one reading.

    Parameters
    ----------
    trajectory : Trajectory
    scores : mapping of name to Score
    memory_limit, n_jobs, verbose
        As for `score_trajectory`.

    Returns
    -------
    dict of (n_samples,) float64 arrays

    Raises
    ------
    TrajectoryError, ValueError
        As for `score_trajectory`.
    """
    epochs = [
        score.check(trajectory.n_epochs, in_memory=isinstance(trajectory, ArrayTrajectory)) for score in scores.values()
    ]
    _check_labelled(trajectory, scores)
    # A stream of unknown length is read to its end, one epoch after the other.
    n_epochs = None if None in epochs else max(epochs)  # type: ignore[type-var]
    n_workers = 1 if isinstance(trajectory, EpochStream) else effective_n_jobs(n_jobs)
    check_real("memory_limit", memory_limit, 1, np.inf)
    share = -(-trajectory.n_samples // n_workers)
    rows, width = block_shape(trajectory, n_epochs, share, int(memory_limit * 2**20) // n_workers)
    step = max(1, _TASK_BYTES // (rows * (n_epochs or 2) * _value_bytes(trajectory))) * rows
    tasks = (
        delayed(_score_rows)(
            trajectory, scores, start, min(start + step, trajectory.n_samples), (rows, width), n_epochs
        )
        for start in range(0, trajectory.n_samples, step)
    )
    parts: list[dict[str, np.ndarray]] = []
    with progress_bar("Scoring", trajectory.n_samples, verbose) as advance:
        for part in Parallel(n_jobs=n_workers, prefer="threads", return_as="generator")(tasks):
            parts.append(part)
            advance(len(next(iter(part.values()))))
    return {name: np.concatenate([part[name] for part in parts]) for name in scores}


def block_shape(trajectory: Trajectory, n_epochs: int | None, n_samples: int, memory: int) -> tuple[int, int]:
    """Samples, at most `n_samples`, and epochs of a block that its buffers, at most `memory` bytes, hold.

    All epochs of some samples where the source's chunks allow it, no more of them than the cache holds; else as many
    samples as fit beside at least two epochs.
    """
    chunk_rows = min(trajectory.chunk[0], n_samples)
    if isinstance(trajectory, EpochStream):
        return trajectory.n_samples, 2
    assert n_epochs is not None
    fits = max(memory // _value_bytes(trajectory), 2)  # rows x epochs
    if chunk_rows * n_epochs <= fits:
        cached = min(_BLOCK_BYTES, memory) // (n_epochs * _value_bytes(trajectory))
        return max(chunk_rows, cached // chunk_rows * chunk_rows), n_epochs
    rows = max(1, min(chunk_rows, fits // 2))
    return rows, min(n_epochs, max(2, fits // rows))


class OnlineTDDS:
    """TDDS of a training run as it goes: one epoch at a time, no trajectory stored.

    Holds the last epoch, and K - 1 differences and the moving average of each sample.

    Parameters
    ----------
    score : TDDS
    kind : {"probs", "logits", "log_probs"}, default "probs"
        What the epochs are; 1-D epochs are losses.

    Attributes
    ----------
    n_epochs : int
        Epochs taken so far, at most T.
    scores : (n_samples,) float64 array or None
        None before the K-th epoch.
    """

    def __init__(self, score: TDDS, *, kind: str | None = None) -> None:
        self.score = score
        self.kind = kind
        self.n_epochs = 0
        self.scores: np.ndarray | None = None
        self._previous: np.ndarray | None = None

    def update(self, epoch: Any, labels: Any = None) -> None:
        """Take the next epoch, (n_samples, n_classes), or (n_samples,) of losses; those past T are ignored.

        Raises
        ------
        TrajectoryError
            The shape differs from the first epoch's, or a row is no distribution; the state is then as before.
        ValueError
            Labels are needed, or do not fit.
        """
        if self.n_epochs == self.score.T:
            return
        values = np.array(as_array(epoch))
        if self._previous is not None and values.shape != self._previous.shape:
            raise TrajectoryError(
                f"Epoch {self.n_epochs} has shape {values.shape}; expected {self._previous.shape} as before."
            )
        current = EpochStream([values], kind=self.kind)
        if labels is not None:
            current.labels = check_labels(labels, current.n_samples, current.n_classes)
        _check_labelled(current, {"tdds": self.score})
        diffs = self._differences(values, current)
        if self._previous is None:
            self._diffs = np.zeros((len(values), self.score.K - 1))
            self._average = np.zeros(len(values))
        else:
            self._diffs = np.column_stack([self._diffs[:, 1:], diffs])
        self._previous = values
        self.n_epochs += 1
        n_windows = self.n_epochs - self.score.K + 1
        if n_windows >= 1:
            gains = self.score.gains(n_windows - 1, n_windows)
            kernels.moving_average(self.score.variances(self._diffs), gains, self._average)
            self.scores = self._average.copy()

    def _differences(self, values: np.ndarray, current: Trajectory) -> np.ndarray:
        """The difference of `values` from the epoch before, (n_samples,); empty rows are checked at the first epoch."""
        series = self.score.series(current.kind)
        held = [values] if self._previous is None else [self._previous, values]
        out = np.zeros(len(values))
        step = max(1, _BLOCK_BYTES // (2 * _value_bytes(current)))
        for start in range(0, len(values), step):
            rows = slice(start, start + step)
            pair = np.stack([epoch[rows] for epoch in held], axis=1)
            block: np.ndarray = np.asarray(pair, dtype=_buffer_dtype(current.dtype))
            probs = _as_probs(block, current, start, self.n_epochs + 1 - len(held))
            if len(held) == 2:
                out[rows] = series(probs, None if current.labels is None else current.labels[rows])[:, 0]
        return out


def _check_labelled(trajectory: Trajectory, scores: Mapping[str, Score]) -> None:
    for name, score in scores.items():
        if trajectory.labels is None and score.series(trajectory.kind).needs_labels:
            raise ValueError(f"{name} needs labels with these parameters; pass y, one integer a sample.")


def _buffer_dtype(dtype: str) -> type:
    return np.float32 if dtype in ("float16", "bfloat16", "float32") else np.float64


def _value_bytes(trajectory: Trajectory) -> int:
    """Bytes that one epoch of one sample takes: as stored and as read."""
    stored = 2 if "16" in trajectory.dtype else 4 if trajectory.dtype == "float32" else 8
    return (stored + np.dtype(_buffer_dtype(trajectory.dtype)).itemsize) * (trajectory.n_classes or 1)


def _score_rows(
    trajectory: Trajectory,
    scores: Mapping[str, Score],
    start: int,
    stop: int,
    shape: tuple[int, int],
    n_epochs: int | None,
) -> dict[str, np.ndarray]:
    """One task: the scores of samples start ... stop - 1."""
    results = {name: np.empty(stop - start) for name in scores}
    n_values = shape[0] * shape[1] * (trajectory.n_classes or 1)
    buffer: np.ndarray = np.empty(n_values, dtype=_buffer_dtype(trajectory.dtype))
    series = {score.series(trajectory.kind) for score in scores.values()}
    with trajectory.reader() as read:
        for low in range(start, stop, shape[0]):
            high = min(low + shape[0], stop)
            columns = _series_columns(trajectory, series, read, low, high, buffer, shape[1], n_epochs)
            for name, score in scores.items():
                held = columns[score.series(trajectory.kind)]
                n_read = score.check(held.shape[1] + 1) or 0
                results[name][low - start : high - start] = score.reduce(held[:, : n_read - 1])
    return results


def _series_columns(
    trajectory: Trajectory,
    series: set[Series],
    read: Read,
    start: int,
    stop: int,
    buffer: np.ndarray,
    width: int,
    n_epochs: int | None,
) -> dict[Series, np.ndarray]:
    """Every series of samples start ... stop - 1, from blocks of `width` epochs that share one epoch with the next."""
    row = () if trajectory.n_classes is None else (trajectory.n_classes,)
    columns: dict[Series, list[np.ndarray]] = {one: [] for one in series}
    last = None
    epoch = 0
    while (n_epochs is None or epoch < n_epochs) and trajectory.holds(epoch):
        shared = last is not None
        n_read = min(width - shared, (n_epochs or epoch + 1) - epoch)
        shape = (stop - start, n_read + shared, *row)
        block = buffer[: int(np.prod(shape))].reshape(shape)
        if last is not None:
            block[:, 0] = last
        read(start, stop, epoch, block[:, shared:])
        pieces = {one: np.empty((len(block), block.shape[1] - 1)) for one in series}
        # Tiles of the block stay in the cache while they are checked, turned into probabilities and read.
        step = max(1, _TILE_VALUES // block[0].size)
        for low in range(0, len(block), step):
            tile = block[low : low + step]
            probs = _as_probs(tile, trajectory, start + low, epoch - shared)
            labels = None if trajectory.labels is None else trajectory.labels[start + low : start + low + len(tile)]
            for one, piece in pieces.items():
                piece[low : low + step] = one(probs, labels)
        for one, piece in pieces.items():
            columns[one].append(piece)
        epoch += n_read
        last = block[:, -1].copy() if epoch != n_epochs else None
    return {one: np.concatenate(pieces, axis=1) for one, pieces in columns.items()}


def _as_probs(block: np.ndarray, trajectory: Trajectory, sample: int, epoch: int) -> np.ndarray:
    """A block as probabilities (losses as they are), every row checked; its first row is `sample` at `epoch`."""
    if trajectory.kind == "losses":
        if not np.isfinite(block).all():
            i, t = np.argwhere(~np.isfinite(block))[0]
            raise TrajectoryError(
                f"Loss of sample {sample + i} at epoch {epoch + t} is {block[i, t]}; expected finite losses."
            )
        return block
    if trajectory.kind == "probs":
        probs = block
    else:
        probs = np.empty(block.shape)
        if trajectory.kind == "logits":
            kernels.softmax(block, probs)
        else:
            np.exp(block, out=probs, dtype=np.float64)
    flat = kernels.first_invalid_row(probs, sum_tolerance(trajectory.dtype))
    if flat >= 0:
        i, t = divmod(flat, block.shape[1])
        raise invalid_row(block[i, t], probs[i, t], sample + i, epoch + t, trajectory.kind, trajectory.dtype)
    return probs


@contextmanager
def progress_bar(what: str, total: int, verbose: int) -> Iterator[Callable[[int], object]]:
    """A progress bar on the standard error, or none where `verbose` is 0; its value advances it by n samples."""
    if not verbose:
        yield lambda n: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("samples"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda n: progress.advance(task, n)
