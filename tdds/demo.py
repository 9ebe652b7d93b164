"""`tdds demo`: train on scikit-learn's digits, record, score, prune, train again, and say which side wins."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from tdds.selector import CoresetSelector, TDDSSelector
from tdds.store import TrajectoryWriter
from tdds.tables import replacing

N_EPOCHS = 30
T, K = 30, 10
EARLY = {"T": 10, "K": 5, "sampler": "beta"}
PRUNING_RATES = (0.5, 0.7, 0.9)
SEEDS = range(6)
SIGNS = {"better": "[green]▲[/]", "worse": "[red]▼[/]", "no clear difference": " "}


def run_demo(folder: Path, console: Console) -> dict[str, Any]:
    """Run the whole story, telling it on `console`; trajectory and picture are left in `folder`.

    Parameters
    ----------
    folder : path
        Made where it is missing; a trajectory of an earlier run in it is replaced, and so is a link in its place.
    console : rich console

    Returns
    -------
    dict
        Accuracies by pruning rate and side, and what was written.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    began = time.perf_counter()
    digits = load_digits()
    X = digits.data / 16
    X_train, X_test, y_train, y_test, images, _ = train_test_split(
        X, digits.target, digits.images, test_size=1 / 3, stratify=digits.target, random_state=0
    )
    console.print(f"[bold]1[/] Train on {len(X_train):,} digits for {N_EPOCHS} epochs, recording every prediction")
    run = folder / "run"
    if run.is_symlink():
        run.unlink()
    shutil.rmtree(run, ignore_errors=True)
    full = record(run, X_train, y_train)
    full_accuracy = full.score(X_test, y_test)
    console.print(
        f"  test accuracy on all data {full_accuracy:.1%}; trajectory in {run}", highlight=False, markup=False
    )

    console.print(f"[bold]2[/] Score it: T={T}, K={K}, beta=0.9")
    selector = TDDSSelector(T, K).fit(run)
    picture = draw(folder / "digits.png", selector, images, y_train)
    where = f"  picture in {picture}" if picture else "  no picture: pip install 'tdds-coreset[plot]'"
    console.print(where, highlight=False, markup=False)

    console.print(
        f"[bold]3[/] Prune, train again for {N_EPOCHS} epochs, test on {len(X_test)} digits; {len(SEEDS)} seeds"
    )
    table = Table("removed", "kept", "TDDS", "TDDS, early and spread", "random", box=None, pad_edge=False)
    results: dict[str, Any] = {"full": full_accuracy, "folder": str(folder), "rates": {}}
    for rate in PRUNING_RATES:
        hardest = selector.set_params(pruning_rate=rate).fit(run).sample_indices_
        accuracies: dict[str, list[float]] = {"tdds": [], "early": [], "random": []}
        for seed in SEEDS:
            early = CoresetSelector("tdds", **EARLY, pruning_rate=rate, random_state=seed).fit(run)
            drawn = np.random.default_rng(seed).choice(len(X_train), size=len(hardest), replace=False)
            chosen = {"tdds": hardest, "early": early.sample_indices_, "random": drawn}
            for side, kept in chosen.items():
                accuracies[side].append(train(X_train[kept], y_train[kept], seed).score(X_test, y_test))
        verdicts = {side: compare(accuracies[side], accuracies["random"]) for side in ("tdds", "early")}
        results["rates"][str(rate)] = {"n_kept": len(hardest), **accuracies, "verdicts": verdicts}
        cells = (
            f"{np.mean(found):.1%} ± {np.std(found, ddof=1):.1%} {SIGNS[verdicts.get(side, 'no clear difference')]}"
            for side, found in accuracies.items()
        )
        table.add_row(f"{rate:.0%}", str(len(hardest)), *cells)
    console.print(table)
    console.print(
        f"  {SIGNS['better']} better, {SIGNS['worse']} worse than random by more than two standard errors.\n"
        f"  At 90 % the hardest samples alone teach too little. Early and spread:\n"
        f"  {CoresetSelector('tdds', **EARLY)}\n  What suits your data: tdds compare LOGS",
        highlight=False,
    )
    results["seconds"] = time.perf_counter() - began
    console.print(f"[dim]{results['seconds']:.0f} s. Your own logs: tdds score LOGS -o scores.h5[/]", highlight=False)
    return results


def compare(ours: list[float], theirs: list[float]) -> str:
    """Whether accuracies of the same seeds differ by more than two standard errors: a key of `SIGNS`."""
    difference = np.subtract(ours, theirs)
    if abs(difference.mean()) < 2 * difference.std(ddof=1) / np.sqrt(len(difference)):
        return "no clear difference"
    return "better" if difference.mean() > 0 else "worse"


def record(run: Path, X: np.ndarray, y: np.ndarray) -> MLPClassifier:
    """Train on everything, writing what the model says of every sample after each epoch."""
    model = new_model(seed=0)
    classes = np.unique(y)
    with TrajectoryWriter(run, n_samples=len(X), n_classes=len(classes), dtype="float32", labels=y) as writer:
        for _ in range(N_EPOCHS):
            model.partial_fit(X, y, classes=classes)
            writer.write(None, model.predict_proba(X))
            writer.end_epoch()
    return model


def train(X: np.ndarray, y: np.ndarray, seed: int) -> MLPClassifier:
    model = new_model(seed)
    for _ in range(N_EPOCHS):
        model.partial_fit(X, y, classes=np.arange(10))
    return model


def new_model(seed: int) -> MLPClassifier:
    return MLPClassifier(hidden_layer_sizes=(64,), batch_size=32, learning_rate_init=2e-3, random_state=seed)


def draw(path: Path, selector: TDDSSelector, images: np.ndarray, labels: np.ndarray, n_shown: int = 10) -> Path | None:
    """The distribution of the scores, and the digits valued most and least; None where matplotlib is not there."""
    try:
        from tdds.plotting import ScoreDisplay
    except ImportError:
        return None
    from matplotlib.figure import Figure

    scores = selector.scores_
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.35))  # type: ignore[misc]
    axes = left.subplots()
    ScoreDisplay.from_scores(scores, pruning_rate=max(PRUNING_RATES), name="TDDS score", ax=axes)
    axes.set_title(f"Scores of {len(scores):,} digits")
    order = np.argsort(-scores, kind="stable")
    rows = right.subplots(4, n_shown // 2)
    for cells, chosen, title in (
        (rows[:2], order[:n_shown], "Valued most"),
        (rows[2:], order[-n_shown:], "Valued least"),
    ):
        for cell, sample in zip(cells.flat, chosen, strict=True):
            cell.imshow(images[sample], cmap="gray_r")
            cell.set_title(f"{labels[sample]}", fontsize=8, pad=2)
            cell.axis("off")
        cells[0, 0].annotate(title, (0, 1.45), xycoords="axes fraction", fontsize=10)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
    return path
