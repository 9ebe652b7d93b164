"""Score tables of several runs over the same data."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from tdds.tables.scores import ScoreTable
from tdds.validation import check_choice


def combine_tables(
    tables: Sequence[ScoreTable], how: str = "mean", names: Sequence[str | os.PathLike[str]] | None = None
) -> ScoreTable:
    """One table of several runs over the same data, such as one a seed.

    Parameters
    ----------
    tables : sequence of ScoreTable
        At least two, of the same samples, methods and parameters.
    how : {"mean", "rank"}, default "mean"
        The mean of the scores; or of their ranks, in (0, 1], ties sharing theirs, which no run's scale dominates.
    names : sequence of str or path, optional
        What errors call the tables; their numbers where left out.

    Returns
    -------
    ScoreTable
        Its source lists the runs.

    Raises
    ------
    ValueError
        The tables are of different data (number of samples, labels or ids), hold other methods or parameters, are of
        other numbers of epochs, or two are of the same run.
    """
    from scipy.stats import rankdata

    check_choice("how", how, ("mean", "rank"))
    if len(tables) < 2:
        raise ValueError(f"{len(tables)} file(s) of scores: expected at least two runs to combine.")
    first = tables[0]
    called = [f"Run {i}" for i in range(len(tables))] if names is None else [str(name) for name in names]
    for name, other in zip(called[1:], tables[1:], strict=True):
        pair = f"{called[0]} and {name}"
        for what in ("labels", "ids"):
            if (getattr(first, what) is None) != (getattr(other, what) is None):
                raise ValueError(
                    f"{pair}: one has {what}, the other none; whether their data are the same is not known."
                )
        if set(first.scores) != set(other.scores):
            raise ValueError(f"{pair} hold other scores: {', '.join(first.scores)}; {', '.join(other.scores)}.")
        check_same_samples(pair, first, other)
    fingerprints = [table.source.get("fingerprint") for table in tables]
    for i, fingerprint in enumerate(fingerprints):
        if fingerprint is not None and fingerprint in fingerprints[:i]:
            pair = f"{called[fingerprints.index(fingerprint)]} and {called[i]}"
            raise ValueError(f"{pair} are of the same trajectory, {fingerprint}; expected one file a run.")
    scores = {name: np.stack([table.scores[name] for table in tables]) for name in first.scores}
    if how == "rank":
        scores = {name: rankdata(runs, axis=1) / first.n_samples for name, runs in scores.items()}
    return ScoreTable(
        scores={name: runs.mean(axis=0) for name, runs in scores.items()},
        keeps=first.keeps,
        parameters=first.parameters,
        source={"combined": how, "runs": [table.source for table in tables]},
        labels=first.labels,
        ids=first.ids,
    )


def check_same_samples(pair: str, first: ScoreTable, other: ScoreTable) -> None:
    """Raise where two tables, called `pair`, are of other samples, or scores that both hold were made otherwise."""
    if first.n_samples != other.n_samples:
        raise ValueError(f"{pair} are of different data: {first.n_samples} and {other.n_samples} samples.")
    for what in ("labels", "ids"):
        ours, theirs = getattr(first, what), getattr(other, what)
        if ours is not None and theirs is not None and not np.array_equal(ours, theirs):
            sample = int(np.argmax(ours != theirs))
            raise ValueError(f"{pair} are of different data: their {what} differ, first those of sample {sample}.")
    for name in first.scores.keys() & other.scores.keys():
        made = [{"keeps": table.keeps[name], **table.parameters[name]} for table in (first, other)]
        if made[0] != made[1]:
            raise ValueError(f"{pair} are scored otherwise: {name} with {made[0]} and {made[1]}.")
        epochs = [table.source.get("n_epochs_read") for table in (first, other)]
        if None not in epochs and epochs[0] != epochs[1]:
            raise ValueError(f"{pair} are of {epochs[0]} and {epochs[1]} epochs; score both with the same --T.")
