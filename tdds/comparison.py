"""How far scores agree: rank correlations, the share of a coreset that two of them both keep, stability across runs."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from tdds.engine import MEMORY_LIMIT, compute_scores, what_lacks
from tdds.samplers import count_kept, preference, top
from tdds.scores import METHODS, Score, default_K, make_scores
from tdds.sources import Trajectory, open_trajectory
from tdds.validation import check_real


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Scores of the same samples beside each other, each turned so that what its method keeps is largest.

    Attributes
    ----------
    names : tuple of str
        What is compared: a method, and the parameters that vary.
    correlations : (n, n) float64 array
        Spearman's rank correlation of each pair; nan where one is constant. The mean over the runs.
    overlaps : dict of float to (n, n) float64 array
        By pruning rate, the share of the coreset that both keep; 1 - pruning rate is what chance gives. The mean over
        the runs.
    runs : tuple of str
        What was compared with itself; empty for a single run.
    run_correlations : (n,) float64 array
        Of each score, the mean rank correlation between two runs; nan for a single run.
    run_overlaps : dict of float to (n,) float64 array
        By pruning rate, the mean share of the coreset that two runs both keep.
    n_samples : int
    """

    names: tuple[str, ...]
    correlations: np.ndarray
    overlaps: dict[float, np.ndarray]
    runs: tuple[str, ...]
    run_correlations: np.ndarray
    run_overlaps: dict[float, np.ndarray]
    n_samples: int

    def to_pandas(self) -> Any:
        """One row for each pair of scores, or of a score with itself in another run.

        Returns
        -------
        pandas.DataFrame
            Columns `first`, `second`, `spearman`, and `overlap_p` for each pruning rate p.

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("A table of pairs needs pandas: pip install 'tdds-coreset[pandas]'") from None
        pairs = np.triu_indices(len(self.names), k=1)
        columns = {"spearman": self.correlations[pairs]}
        columns |= {f"overlap_{rate:g}": shares[pairs] for rate, shares in self.overlaps.items()}
        first, second = (np.array(self.names, dtype=object)[side] for side in pairs)
        if self.runs:
            first, second = (np.append(side, self.names) for side in (first, second))
            own = [self.run_correlations, *self.run_overlaps.values()]
            columns = {key: np.append(column, more) for (key, column), more in zip(columns.items(), own, strict=True)}
        return pd.DataFrame({"first": first, "second": second, **columns})

    def to_dict(self) -> dict[str, Any]:
        """What JSON holds: lists for arrays, None for nan."""
        held: dict[str, Any] = {
            "n_samples": self.n_samples,
            "names": list(self.names),
            "spearman": _listed(self.correlations),
            "overlap": {f"{rate:g}": _listed(shares) for rate, shares in self.overlaps.items()},
        }
        if self.runs:
            overlap = {f"{rate:g}": _listed(shares) for rate, shares in self.run_overlaps.items()}
            held["runs"] = {"names": list(self.runs), "spearman": _listed(self.run_correlations), "overlap": overlap}
        return held

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.markup import escape
        from rich.table import Table

        def tables(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[Any]:
            """One below the other where the columns are too many for the width."""
            of_names = 3 + max(map(len, self.names))
            of_column = 2 + max(len(text) for line in (headings, *rows) for text in line)
            step = max(1, (options.max_width - of_names) // of_column)
            for first in range(0, len(headings), step):
                block = slice(first, first + step)
                made = Table(box=None, pad_edge=False, header_style="dim")
                made.add_column("", no_wrap=True)
                for heading in headings[block]:
                    made.add_column(heading, justify="right", no_wrap=True)
                for i, (name, row) in enumerate(zip(self.names, rows, strict=True), start=1):
                    made.add_row(f"[dim]{i:2}[/] {escape(name)}", *row[block])
                yield made

        if len(self.names) > 1:
            numbers = [str(i + 1) for i in range(len(self.names))]
            of_runs = f", mean of {len(self.runs)} runs" if self.runs else ""
            yield f"[bold]Spearman's rank correlation[/] of {self.n_samples:,} samples{of_runs}"
            yield from tables(numbers, _matrix(self.correlations, _decimal))
            for rate, shares in self.overlaps.items():
                chance = f"p = {rate:g} (chance {100 * (1 - rate):.0f})"
                yield f"\n[bold]Share of the coreset that both keep, %, {chance}[/]{of_runs}"
                yield from tables(numbers, _matrix(shares, _percent))
        if self.runs:
            rows = [
                [_decimal(correlation), *(_percent(shares[i]) for shares in self.run_overlaps.values())]
                for i, correlation in enumerate(self.run_correlations)
            ]
            runs = escape(", ".join(self.runs))
            yield "\n" * (len(self.names) > 1) + f"[bold]Each score with itself in another run[/] ({runs})"
            yield from tables(["Spearman", *(f"% shared at p = {rate:g}" for rate in self.run_overlaps)], rows)

    def __str__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        Console(file=text, width=max(100, 40 + 6 * len(self.names))).print(self)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def __repr__(self) -> str:
        in_runs = f" in {len(self.runs)} runs" if self.runs else ""
        rates = ", ".join(f"{rate:g}" for rate in self.overlaps)
        return f"<Comparison of {len(self.names)} scores of {self.n_samples:,} samples{in_runs}, at p = {rates}>"


def compare_scores(
    source: Any,
    y: Any = None,
    *,
    method: str | Score | Sequence[str | Score] | None = None,
    pruning_rate: float | Sequence[float] = (0.5, 0.9),
    T: int | Sequence[int] | None = None,
    K: int | Sequence[int] | None = None,
    beta: float | Sequence[float] = 0.9,
    formulation: str | Sequence[str] = "paper",
    loss: str | Sequence[str] = "kl",
    magnitude: bool | Sequence[bool] = True,
    margin_of: str | Sequence[str] = "probs",
    random_state: Any = None,
    features: Any = None,
    keeps: Mapping[str, str] | None = None,
    axes: str | None = None,
    kind: str | None = None,
    missing: str = "error",
    damaged: str = "unchecked",
    memory_limit: float = MEMORY_LIMIT,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> Comparison:
    """Rank correlations and coreset overlaps: between methods, across T, K and beta, and between runs.

    However many methods and parameters, each trajectory is read once.

    Parameters
    ----------
    source : array, path, iterable of epochs or Trajectory; dict of scores; dict of runs
        Anything that `open_trajectory` opens; or scores by name, (n_samples,) each; or either of them by the name of
        the run, a training seed, say: the same samples in the same order in all. Runs that have no score in common are
        taken as one.
    y : (n_samples,) integers, optional
        Labels, where a method needs them; left out, each trajectory's own.
    method : str, Score, or list of them, optional
        Of a trajectory: what to compare. Left out, every method but "random" that the trajectory allows.
    pruning_rate : float or list of float, default (0.5, 0.9)
        Shares *removed* at which coresets are compared; each holds the samples that its score prefers, ties to the
        lower index.
    T, K, beta, formulation, loss, magnitude, margin_of : value or list of values
        As for `score_trajectory`. A method is compared at every combination of those listed that it has. K left out is
        10, or all epochs that count where they are fewer.
    random_state : int, Generator, RandomState or None, default None
        Seed of "random".
    features : (n_samples, n_features) array, optional
        Needed by "moderate".
    keeps : dict of str, optional
        By the name of a score, which are kept: the "largest", the "smallest", or those nearest the "median" of their
        class. Left out, what its method keeps, "largest" where it is no method's own.
    axes, kind : str, optional
    missing : str, default "error"
    damaged : str, default "unchecked"
    memory_limit : float, default 256
    n_jobs : int, optional
    verbose : int, default 0
        These seven as for `score_trajectory`.

    Returns
    -------
    Comparison
        Printed as tables; ``to_pandas()`` is one row a pair.

    Raises
    ------
    TrajectoryError, ValueError, TypeError, FileNotFoundError
        As for `score_trajectory`; or there is nothing to compare, or the runs do not match.

    Examples
    --------
    >>> import numpy as np
    >>> from tdds import compare_scores
    >>> rng = np.random.default_rng(0)
    >>> probs, y = rng.dirichlet(np.ones(10), size=(500, 12)), rng.integers(10, size=500)
    >>> comparison = compare_scores(probs, y, method=["tdds", "aum"], K=[5, 8], pruning_rate=0.9)
    >>> comparison.names
    ('tdds:K=5', 'tdds:K=8', 'aum')
    >>> comparison
    <Comparison of 3 scores of 500 samples, at p = 0.9>
    """
    parameters = {"T": T, "beta": beta, "formulation": formulation, "loss": loss, "magnitude": magnitude}
    parameters |= {"margin_of": margin_of, "random_state": random_state}
    asked = dict(keeps or {})
    rates = [check_real("pruning_rate", rate, 0, 1, high_is_legal=False) for rate in np.atleast_1d(pruning_rate)]

    def prefer(run: Any) -> dict[str, np.ndarray]:
        """The scores of a run by name, turned so that the largest are kept."""
        if isinstance(run, Mapping):
            known = {name: getattr(METHODS.get(str(name).split(":")[0]), "keeps", "largest") for name in run}
            return _turn(run, known | asked, y)
        trajectory = open_trajectory(run, axes=axes, kind=kind, missing=missing, damaged=damaged, labels=y)
        lengths = [trajectory.n_epochs, *(T if isinstance(T, Sequence) else [T])]
        shortest = min((n for n in lengths if n is not None), default=None)
        width = default_K(shortest) if K is None else K
        chosen = make_scores(
            _fitting(trajectory, shortest, features) if method is None else method, K=width, **parameters
        )
        scores = compute_scores(
            trajectory, chosen, features=features, memory_limit=memory_limit, n_jobs=n_jobs, verbose=verbose
        )
        return _turn(scores, {name: score.keeps for name, score in chosen.items()} | asked, trajectory.labels)

    named = isinstance(source, Mapping) and not all(map(_is_scores, source.values()))
    runs = _matched({name: prefer(run) for name, run in (source if named else {"": source}).items()})
    names = tuple(next(iter(runs.values()), ()))
    if unknown := [name for name in asked if name not in names]:
        raise ValueError(f"keeps names {unknown[0]!r}, which is no score here; expected some of {', '.join(names)}.")
    if len(names) * len(runs) < 2:
        raise ValueError(
            f"There is {names[0] if names else 'nothing'} to compare, and no other; name two, or two runs."
        )
    values = np.array([[run[name] for name in names] for run in runs.values()])  # runs, names, samples
    return _compare(names, tuple(runs) if len(runs) > 1 else (), values, rates)


def agreement(preferences: np.ndarray, rates: Sequence[float]) -> tuple[np.ndarray, dict[float, np.ndarray]]:
    """Rank correlations of the rows, (n, n), and by pruning rate the share of the coreset that two rows both keep."""
    n_samples = preferences.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):  # a constant row correlates with nothing
        correlations = np.corrcoef(rankdata(preferences, axis=1))
    overlaps = {}
    for rate in rates:
        n_kept = count_kept(n_samples, rate)
        kept = np.zeros(preferences.shape)
        for row, preferred in zip(kept, preferences, strict=True):
            row[top(preferred, n_kept)] = 1
        overlaps[rate] = kept @ kept.T / n_kept
    return np.atleast_2d(correlations), overlaps


def _compare(names: tuple[str, ...], runs: tuple[str, ...], values: np.ndarray, rates: list[float]) -> Comparison:
    within = [agreement(run, rates) for run in values]
    between = [agreement(score, rates) for score in values.swapaxes(0, 1)] if runs else []
    pairs = np.triu_indices(len(runs), k=1)
    return Comparison(
        names=names,
        correlations=np.mean([correlations for correlations, _ in within], axis=0),
        overlaps={rate: np.mean([overlaps[rate] for _, overlaps in within], axis=0) for rate in rates},
        runs=runs,
        run_correlations=np.array([correlations[pairs].mean() for correlations, _ in between]),
        run_overlaps={rate: np.array([overlaps[rate][pairs].mean() for _, overlaps in between]) for rate in rates},
        n_samples=values.shape[2],
    )


def _fitting(trajectory: Trajectory, n_epochs: int | None, features: Any) -> list[str]:
    """Every method but "random" for which `n_epochs` are enough and nothing lacks; no window is narrower than 3."""
    return [
        name
        for name, method in METHODS.items()
        if name != "random"
        and (n_epochs is None or n_epochs >= max(getattr(method, "least", 1), 3 if hasattr(method, "K") else 1))
        and not what_lacks(trajectory, method(), features)
    ]


def _is_scores(value: Any) -> bool:
    return not isinstance(value, (str, Mapping)) and np.ndim(value) == 1


def _turn(scores: Mapping[str, Any], keeps: Mapping[str, str], labels: Any) -> dict[str, np.ndarray]:
    return {name: preference(np.asarray(values, dtype=float), keeps[name], labels) for name, values in scores.items()}


def _matched(runs: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
    """The runs, whose scores must be the same ones; those that have none in common as one run."""
    sizes = {len(values) for run in runs.values() for values in run.values()}
    if len(sizes) > 1:
        raise ValueError(
            f"The scores are of {' and '.join(map(str, sorted(sizes)))} samples; expected the same samples."
        )
    held = [set(run) for run in runs.values()]
    if all(one == held[0] for one in held):
        return runs
    if sum(map(len, held)) == len(set().union(*held)):
        return {"": {name: values for run in runs.values() for name, values in run.items()}}
    listed = "; ".join(f"{name} holds {', '.join(sorted(run))}" for name, run in runs.items())
    raise ValueError(f"Runs must hold the same scores, or none in common: {listed}.")


def _matrix(values: np.ndarray, show: Any) -> list[list[str]]:
    return [["" if i == j else show(value) for j, value in enumerate(row)] for i, row in enumerate(values)]


def _decimal(value: float) -> str:
    return "?" if np.isnan(value) else f"{value:z.2f}".replace("0.", ".", 1)


def _percent(value: float) -> str:
    return f"{100 * value:.0f}"


def _listed(values: np.ndarray) -> list[Any]:
    listed = values.astype(object)
    listed[np.isnan(values)] = None
    return listed.tolist()
