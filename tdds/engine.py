"""Source x score -> one number a sample: one streaming pass, in blocks of samples x epochs.

Peak memory is set by `memory_limit`, not by the number of samples, epochs or classes. The source says which blocks
are cheap to read: all epochs of a few samples, or one epoch of all samples. Blocks that do not hold all epochs that are
scored share one epoch with the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend

from tdds import kernels, store
from tdds.partial import PartialScores, count_samples
from tdds.planning import MEMORY_LIMIT, Plan, count_epochs, in_runs, plan_reading, span_of
from tdds.scores import TDDS, KLDifferences, Score, Series, Tile, Windows, make_scores
from tdds.sources import EpochStream, Read, Trajectory, open_trajectory
from tdds.validation import (
    TrajectoryError,
    check_features,
    check_integer,
    invalid_row,
    sum_tolerance,
)

#: For `numpy.errstate`: what is too large to compute with is found later, by `checked_tile` or `check_finite`.
FOUND_LATER: dict[str, Any] = {"over": "ignore", "under": "ignore", "invalid": "ignore"}

_TILE_VALUES = 1 << 18  # values that are checked and scored at a time: in the cache, and long enough for Python
_SERIES_BYTES = 1 << 20  # of series that are reduced at a time: few calls, and windows that stay in the cache


def score_trajectory(
    source: Any,
    y: Any = None,
    *,
    method: str | Score | Sequence[str | Score] = "tdds",
    T: int | Sequence[int] | None = None,
    K: int | Sequence[int] = 10,
    beta: float | Sequence[float] = 0.9,
    formulation: str | Sequence[str] = "paper",
    loss: str | Sequence[str] = "kl",
    magnitude: bool | Sequence[bool] = True,
    margin_of: str | Sequence[str] = "probs",
    random_state: Any = None,
    features: Any = None,
    axes: str | None = None,
    kind: str | None = None,
    missing: str = "error",
    damaged: str = "unchecked",
    memory_limit: float = MEMORY_LIMIT,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> Any:
    """Score every sample of a trajectory, by one method or, reading once, by several and with several parameters.

    A method takes those of the parameters that it has; T and K mean the same for all of them. A list in the place of a
    parameter asks for a score with each of its values, and several lists for all combinations but those with K > T.

    Parameters
    ----------
    source : array, path, iterable of epochs or Trajectory
        Anything that `open_trajectory` opens; arrays are (n_samples, n_epochs, n_classes).
    y : (n_samples,) integers, optional
        Labels in [0, n_classes); needed by every method but "tdds" with ``loss="kl"``, "entropy", "margin",
        "least_confidence" and "random". Left out, the source's own.
    method : str, Score, or list of them, default "tdds"
        "tdds", "entropy", "forgetting", "el2n", "aum", "dyn_unc", "dual", "eva", "margin", "least_confidence",
        "confidence", "variability", "loss", "moderate" or "random"; the formula of each is in `tdds.scores`.
        Or a score of your own (docs/extending.md).
    T : int, optional
        Only the first T epochs count, later ones are not read. Left out, all, but the first 10 for "el2n" and the
        first 30 for "dual", as their authors do. "entropy", "margin", "least_confidence" and "loss" look at the last
        of them. For "tdds" at beta = 0.9 the last K of them carry 90 % of the score, so T decides *which stage of
        training* is looked at.
    K : int, default 10
        Width of a window, in epochs, of "tdds" (at least 3), "dyn_unc" and "dual"; the others have none.
    beta : float in [0, 1], default 0.9
        Weight of the newest window in Eq. 12; 0 is the simple average of all windows.
    formulation : {"paper", "reference", "datacull"}, default "paper"
        The paper's equations, what the authors' script computes (the absolute value of each class's term, the root of
        the sum of squares), or what datacull 1.0.2 computes (the first of these alone).
    loss : {"kl", "ce", "el2n"}, default "kl"
        Eq. 10 or Eq. 9, which a trajectory of logged losses ignores; or the norm of p - onehot(y) at each epoch in the
        place of the difference (the paper's ablation).
    magnitude : bool, default True
        False takes signed differences (the paper's Fig. 6a).
    margin_of : {"probs", "logits"}, default "probs"
        What the margin of "aum" is taken of.
    random_state : int, Generator, RandomState or None, default None
        Seed of "random".
    features : (n_samples, n_features) array, optional
        What a trained model makes of each sample, such as the output of its last hidden layer; needed by "moderate".
    axes : str, optional
    kind : str, optional
    missing : str, default "error"
    damaged : str, default "unchecked"
        These four as for `open_trajectory`.
    memory_limit : float, default 256
        Bound of the buffers, all threads together, in MiB. Beside them lie 4 MiB or so a thread, and the scores, twice
        while they are put together. Of a stream each series is held whole, whatever the limit.
    n_jobs : int, optional
        Threads, as in scikit-learn; a joblib backend in force takes the blocks elsewhere.
    verbose : int, default 0
        Above 0, a progress bar on the standard error, where that is a terminal.

    Returns
    -------
    (n_samples,) float64 array, or with a list of methods or of values of a parameter a dict of them by name
        A name is that of the method, and what varies: "tdds:T=10,K=5". Each method's value as its authors define it;
        for "aum", "confidence" and "margin" it is the smallest that a coreset keeps, for "moderate" those nearest the
        median of their class.

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
    >>> sorted(score_trajectory(probs, probs[:, -1].argmax(axis=1), method=["tdds", "aum"]))
    ['aum', 'tdds']
    >>> list(score_trajectory(probs, T=[8, 12], K=[5, 10]))
    ['tdds:T=8,K=5', 'tdds:T=12,K=5', 'tdds:T=12,K=10']
    """
    parameters = {"T": T, "K": K, "beta": beta, "formulation": formulation, "loss": loss, "magnitude": magnitude}
    parameters |= {"margin_of": margin_of, "random_state": random_state}
    chosen = make_scores(method, **parameters)
    trajectory = open_trajectory(source, axes=axes, kind=kind, missing=missing, damaged=damaged, labels=y)
    scores = compute_scores(
        trajectory, chosen, features=features, memory_limit=memory_limit, n_jobs=n_jobs, verbose=verbose
    )
    name: Any = getattr(method, "name", method)
    return scores[name] if list(scores) == [name] else scores


def compute_scores(
    trajectory: Trajectory,
    scores: Mapping[str, Score],
    *,
    features: Any = None,
    memory_limit: float = MEMORY_LIMIT,
    n_jobs: int | None = None,
    verbose: int = 0,
    partial: PartialScores | None = None,
) -> dict[str, np.ndarray]:
    """Several scores of one trajectory, by name, from one reading.

    Parameters
    ----------
    trajectory : Trajectory
    scores : mapping of name to Score
    features, memory_limit, n_jobs, verbose
        As for `score_trajectory`.
    partial : PartialScores, optional
        Saves the scores while this runs, and gives back those of an earlier run that was stopped.

    Returns
    -------
    dict of (n_samples,) float64 arrays

    Raises
    ------
    TrajectoryError, ValueError
        As for `score_trajectory`.
    """
    check_scores(trajectory, scores, features)
    raw = dict.fromkeys(scores, np.zeros(trajectory.n_samples))
    if any(score.needs_features for score in scores.values()):
        features = check_features(features, trajectory.n_samples)
        raw |= {name: features for name, score in scores.items() if score.needs_features}
    reading = {name: score for name, score in scores.items() if score.series(trajectory.kind) is not None}
    if reading:
        plan = plan_reading(trajectory, reading, memory_limit, n_jobs)
        with in_runs(trajectory, plan) as source:
            raw |= _read_scores(source, reading, plan, verbose, partial)
        trajectory.check_unchanged()
    with np.errstate(**FOUND_LATER):
        finished = {name: score.finish(raw[name], trajectory.labels) for name, score in scores.items()}
    for name, values in finished.items():
        check_finite(name, values)
    return finished


def check_scores(trajectory: Trajectory, scores: Mapping[str, Score], features: Any) -> None:
    """Raise where the trajectory has too few epochs for a score, or something that it needs lacks."""
    count_epochs(trajectory, scores)
    for name, score in scores.items():
        if lack := what_lacks(trajectory, score, features):
            raise ValueError(f"{name} {lack}")


def check_finite(name: str, scores: np.ndarray) -> None:
    if not np.isfinite(scores).all():
        sample = int(np.argmin(np.isfinite(scores)))
        raise TrajectoryError(
            f"The {name} score of sample {sample} is {scores[sample]}: what was logged is too large to compute with; "
            "expected finite scores."
        )


def what_lacks(trajectory: Trajectory, score: Score, features: Any = None) -> str:
    """What `score` needs and is not there, as the end of a sentence; empty where nothing lacks."""
    series = score.series(trajectory.kind)
    so = " with these parameters" if isinstance(score, TDDS) else ""
    if series is not None and series.needs_probs and trajectory.kind == "losses":
        return (
            f"needs probabilities{so}, (n_samples, n_epochs, n_classes); the trajectory holds losses, one number a "
            "sample and epoch, of which tdds, loss and random are made."
        )
    if score.needs_features and features is None:
        return (
            "needs features; pass features=, (n_samples, n_features), what a trained model makes of each sample: the "
            "output of its last hidden layer."
        )
    if (score.needs_features or (series is not None and series.needs_labels)) and trajectory.labels is None:
        return f"needs labels{so}; pass y, one integer a sample."
    return ""


def _read_scores(
    trajectory: Trajectory, scores: Mapping[str, Score], plan: Plan, verbose: int, partial: PartialScores | None
) -> dict[str, np.ndarray]:
    """What each score's `reduce` gives for all samples."""
    done = partial.load() if partial else []
    n_done = sum(map(count_samples, done))
    tasks = (
        delayed(score_part)(trajectory.part(start, min(start + plan.task_samples, trajectory.n_samples)), scores, plan)
        for start in range(n_done, trajectory.n_samples, plan.task_samples)
    )
    raw: dict[str, np.ndarray] = {}
    start = 0
    with progress_bar("Scoring", trajectory.n_samples, verbose) as advance:
        # Ray's backend hands over all results at the end, the others one after the other.
        streams = get_active_backend(prefer="threads")[0].supports_return_generator
        results = Parallel(n_jobs=plan.n_workers, prefer="threads", return_as="generator" if streams else "list")(tasks)
        for part in chain(done, partial.keep(n_done, results) if partial else results):
            stop = start + count_samples(part)
            for name, values in part.items():
                if name not in raw:
                    raw[name] = np.empty((trajectory.n_samples, *values.shape[1:]))
                raw[name][start:stop] = values
            advance(stop - start)
            start = stop
    return raw


@np.errstate(**FOUND_LATER)
def read_sample(trajectory: Trajectory, sample: int, n_epochs: int | None = None) -> np.ndarray:
    """What the scores of one sample are computed from: (n_epochs, n_classes) checked probabilities, or its losses.

    Parameters
    ----------
    trajectory : Trajectory
    sample : int
        From 0.
    n_epochs : int, optional
        The first so many epochs; all where left out.

    Raises
    ------
    ValueError
        There is no such sample, or the trajectory is a stream, of which no sample can be picked.
    TrajectoryError
        A row is no distribution.
    """
    if isinstance(trajectory, EpochStream):
        raise ValueError(f"{trajectory!r} is a stream, read once, epoch by epoch; store it to look at one sample.")
    if check_integer("sample", sample, 0) >= trajectory.n_samples:
        raise ValueError(f"sample={sample} is not there: the trajectory holds samples 0 to {trajectory.n_samples - 1}.")
    shape = 1, n_epochs or trajectory.n_epochs or 0, *trajectory.row_shape
    block: np.ndarray = np.empty(shape, dtype=trajectory.buffer_dtype)
    with trajectory.reader() as read:
        read(sample, sample + 1, 0, block)
    return checked_tile(store.widen(block), trajectory, sample, 0).values[0].astype(np.float64)


@np.errstate(**FOUND_LATER)
def score_part(trajectory: Trajectory, scores: Mapping[str, Score], plan: Plan) -> dict[str, np.ndarray]:
    """One task: what each score's `reduce` gives for the samples of a part."""
    rows, width = plan.block
    n_values = rows * width * (trajectory.n_classes or 1)
    buffer: np.ndarray = np.empty(n_values, dtype=trajectory.buffer_dtype)
    # Several small blocks are reduced together: Python's share of it does not grow with the number of scores.
    group = max(1, _SERIES_BYTES // (8 * rows * (plan.n_epochs or 1))) * rows
    parts = []
    with trajectory.reader() as read:
        for start in range(0, trajectory.n_samples, group):
            stop = min(start + group, trajectory.n_samples)
            pieces: dict[Series, list[np.ndarray]] = {one: [] for one in plan.spans}
            for low in range(start, stop, rows):
                high = min(low + rows, stop)
                n_epochs, columns = _series_columns(trajectory, plan, read, low, high, buffer)
                for one, values in columns.items():
                    pieces[one].append(values)
            held = {one: np.concatenate(values) for one, values in pieces.items()}
            parts.append(_reduce(scores, plan, held, n_epochs))
    return {name: np.concatenate([part[name] for part in parts]) for name in scores}


def _reduce(
    scores: Mapping[str, Score], plan: Plan, held: Mapping[Series, np.ndarray], n_epochs: int
) -> dict[str, np.ndarray]:
    """What each score's `reduce` gives, from the series at their spans; windows are computed once for all scores."""
    results = {}
    windowed: dict[tuple[Series, Windows], np.ndarray] = {}
    for name, score in scores.items():
        one, windows = plan.series[name], score.windows
        first, last = (epoch - plan.spans[one][0] for epoch in span_of(score, n_epochs))
        values, last = held[one], last - one.between_epochs
        if windows is not None:
            if (one, windows) not in windowed:
                windowed[one, windows] = windows(values)
            values, last = windowed[one, windows], last - windows.width + 1
        results[name] = score.reduce(np.ascontiguousarray(values[:, first:last]))
    return results


def _series_columns(
    trajectory: Trajectory, plan: Plan, read: Read, start: int, stop: int, buffer: np.ndarray
) -> tuple[int, dict[Series, np.ndarray]]:
    """How many epochs there were, and every series at its span of them, for samples start ... stop - 1.

    Blocks of fewer epochs than are read share one epoch with the next, for the series that lie between epochs.
    """
    columns: dict[Series, list[np.ndarray]] = {one: [] for one in plan.spans}
    width = plan.block[1]
    last = None
    epoch = 0
    while (plan.n_epochs is None or epoch < plan.n_epochs) and trajectory.holds(epoch):
        shared = last is not None
        # A stream may end before `plan.n_epochs`: it is read one epoch after the other.
        whole = width == plan.n_epochs and not isinstance(trajectory, EpochStream)
        n_read = width if whole else min(width - 1, (plan.n_epochs or epoch + 1) - epoch)
        shape = (stop - start, n_read + shared, *trajectory.row_shape)
        block = buffer[: int(np.prod(shape))].reshape(shape)
        if last is not None:
            block[:, 0] = last
        read(start, stop, epoch, block[:, shared:])
        wanted = {one: _wanted(one, span, epoch, n_read, shared) for one, span in plan.spans.items()}
        for one, piece in _of_block(block, wanted, trajectory, start, epoch - shared).items():
            columns[one].append(piece)
        epoch += n_read
        last = block[:, -1].copy() if epoch != plan.n_epochs else None
    nothing = np.empty((stop - start, 0))
    return epoch, {one: np.concatenate([nothing, *pieces], axis=1) for one, pieces in columns.items()}


def _of_block(
    block: np.ndarray, wanted: Mapping[Series, slice], trajectory: Trajectory, sample: int, epoch: int
) -> dict[Series, np.ndarray]:
    """Every series at the epochs of a block where it is wanted; every row is checked."""
    everywhere = all(epochs == slice(0, block.shape[1]) for epochs in wanted.values())
    alike = [one for one in wanted if isinstance(one, KLDifferences)]
    if everywhere and trajectory.kind == "probs" and len(alike) == len(wanted):
        found = {one: one.of_stored(block) for one in alike}
        if not all(_are_distributions(sums, trajectory).all() for _, sums in found.values()):
            checked_tile(store.widen(block), trajectory, sample, epoch)  # raises, and names the row
        return {one: columns for one, (columns, _) in found.items()}
    lengths = {one: epochs.stop - epochs.start - one.between_epochs for one, epochs in wanted.items()}
    pieces = {one: np.empty((len(block), length)) for one, length in lengths.items() if length > 0}
    # Tiles of the block stay in the cache while they are checked, turned into probabilities and read.
    step = max(1, _TILE_VALUES // block[0].size)
    wide: np.ndarray = np.empty(step * block[0].size, dtype=np.float32)
    for low in range(0, len(block), step):
        tile = checked_tile(store.widen(block[low : low + step], wide), trajectory, sample + low, epoch)
        for one, piece in pieces.items():
            piece[low : low + step] = one(tile.at(wanted[one]))
    return pieces


def _wanted(series: Series, span: tuple[int, int | None], epoch: int, n_read: int, shared: bool) -> slice:
    """The epochs of a block that `series` is computed from; the block's new epochs are `n_read` from `epoch` on."""
    first = epoch - (shared and series.between_epochs)  # a number of the shared epoch came with the block before
    stop = epoch + n_read if span[1] is None else min(span[1], epoch + n_read)
    start = max(span[0], first)
    return slice(start - epoch + shared, max(start, stop) - epoch + shared)


def checked_tile(block: np.ndarray, trajectory: Trajectory, sample: int, epoch: int) -> Tile:
    """A block as probabilities (losses as they are), every row checked; its first row is `sample` at `epoch`."""
    labels = None if trajectory.labels is None else trajectory.labels[sample : sample + len(block)]
    first = trajectory.first + sample
    if trajectory.kind == "losses":
        if not np.isfinite(block).all():
            i, t = np.argwhere(~np.isfinite(block))[0]
            raise TrajectoryError(
                f"Loss of sample {first + i} at epoch {epoch + t} is {block[i, t]}; expected losses without NaN or inf."
            )
        return Tile(block, labels)
    if trajectory.kind == "probs":
        probs = block
    else:
        probs = np.empty(block.shape)
        if trajectory.kind == "logits":
            kernels.softmax(block, probs)
        else:
            np.exp(block, out=probs, dtype=np.float64)
    sums = np.empty(block.shape[:2])
    kernels.row_sums(probs, sums)
    valid = _are_distributions(sums, trajectory)
    if not valid.all():
        i, t = np.argwhere(~valid)[0]
        raise invalid_row(block[i, t], probs[i, t], first + i, epoch + t, trajectory.kind, trajectory.dtype)
    return Tile(probs, labels)


def _are_distributions(sums: np.ndarray, trajectory: Trajectory) -> np.ndarray:
    """Which of the rows with these sums."""
    return abs(sums - 1) <= sum_tolerance(trajectory.dtype)


@contextmanager
def progress_bar(what: str, total: int, verbose: int, unit: str = "samples") -> Iterator[Callable[[int], object]]:
    """A progress bar on the standard error; its value advances it by n of `unit`.

    None where `verbose` is 0, nor where there is no terminal or notebook to draw it on.
    """
    if verbose:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        if console.is_interactive or console.is_jupyter:
            columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
            with Progress(*columns, console=console, transient=True) as progress:
                task = progress.add_task("", total=total)
                yield lambda n: progress.advance(task, n)
            return
    yield lambda n: None
