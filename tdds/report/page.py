"""From a table of scores to the page: what is shown, as plain numbers and texts; how, says the template."""

from __future__ import annotations

import base64
import datetime
import hashlib
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tdds._version import __version__
from tdds.engine import compute_scores, read_sample
from tdds.report.samples import Samples
from tdds.samplers import count_kept, preference
from tdds.scores import AUM, METHODS, TDDS, default_K, make_score
from tdds.sources import Trajectory, open_trajectory
from tdds.summaries import bin_of, default_grid, is_heavy_tailed, overlap_grid, score_bins
from tdds.tables import ScoreTable, replacing
from tdds.validation import TrajectoryError, check_choice, check_real

STEPS = 1000  # of the slider: tenths of a percent
_SHOWN = 240  # samples of each end, spread over the classes
_CLASSES = 100  # shown with samples
_SUSPECTS = 24
#: Which score tells wrong labels best, the first that is there, and the end at which they gather.
SUSPICION = {"aum": "smallest", "confidence": "smallest", "el2n": "largest", "loss": "largest"}
_HERE = Path(__file__).parent


def write_report(
    table: ScoreTable,
    path: str | os.PathLike[str],
    *,
    name: str = "scores.h5",
    samples: Samples | None = None,
    trajectory: Trajectory | None = None,
    class_names: Sequence[str] | None = None,
    method: str | None = None,
    pruning_rate: float = 0.5,
    command: str | None = None,
) -> None:
    """Write a page on scores, and on the coresets that the sampler "top" makes of them.

    Parameters
    ----------
    table : ScoreTable
    path : path
        Of the HTML file.
    name : str, default "scores.h5"
        What the file of scores is called.
    samples : Samples, optional
        What can be shown of the samples: `Images` or `Rows`.
    trajectory : Trajectory, optional
        The one that was scored: for the coreset at other T and K, and what the model said of suspected labels.
    class_names : sequence of str, optional
        The name of each class, in the order of the labels; in the place of those that `samples` may have.
    method : str, optional
        The score that is shown first; the others of the table can be chosen.
    pruning_rate : float in [0, 1), default 0.5
        Share of the samples that is removed where the slider stands at first, to a tenth of a percent.
    command : str, optional
        What wrote this report.

    Raises
    ------
    ValueError
        There is no such method, or the pruning rate is out of range.
    TrajectoryError
        `samples` or `trajectory` do not belong to the scores.
    OSError
        The file cannot be written.
    """
    check_choice("method", method, (None, *table.scores))
    check_real("pruning_rate", pruning_rate, 0, 1, high_is_legal=False)
    step = min(round(STEPS * pruning_rate), STEPS - 1)
    shown = _Shown(table, samples, trajectory, class_names)
    kept = [count_kept(table.n_samples, k / STEPS) for k in range(STEPS)]
    names = sorted(table.scores, key=lambda one: (one != method, one != "tdds"))
    methods = {one: _describe(one, table, shown, kept) for one in names}
    data = {
        "file": shlex.quote(name),
        "kept": kept,
        "nSamples": table.n_samples,
        "methods": {one: what["live"] for one, what in methods.items()},
    }
    script = (_HERE / "report.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": "{:,}".format, "percent": "{:.1%}".format}
    page = environment.get_template("report.html").render(
        name=name,
        table=table,
        methods=methods,
        shown=shown,
        step=step,
        kept=kept[step],
        data=data,
        facts=_facts(table),
        commands=_commands(table.source),
        command=command,
        suspects=_suspects(table, shown, trajectory),
        grid=None if trajectory is None else _grid(table, trajectory, step / STEPS),
        created=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        style=Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    with replacing(Path(path)) as temporary:
        temporary.write_text(page, encoding="utf-8")


class _Shown:
    """What can be shown of each sample: its name, its label, its picture or its row."""

    def __init__(
        self,
        table: ScoreTable,
        samples: Samples | None,
        trajectory: Trajectory | None,
        class_names: Sequence[str] | None,
    ) -> None:
        self.n_samples = table.n_samples
        self.samples = samples
        known = [one for one in (table, samples, trajectory) if one is not None]
        for other in known:
            if other.n_samples != table.n_samples:
                raise TrajectoryError(
                    f"The scores are of {table.n_samples} samples, the data or the trajectory hold {other.n_samples}."
                )
        labels = [one.labels for one in known if one.labels is not None]
        for given in labels[1:]:
            if not np.array_equal(labels[0], given):
                sample = int(np.argmax(labels[0] != given))
                raise TrajectoryError(f"The labels of the scores and the data differ, first those of sample {sample}.")
        self.labels = labels[0] if labels else np.zeros(self.n_samples, dtype=np.int64)
        self.has_labels = bool(labels)
        n_classes = int(self.labels.max()) + 1
        if labels and trajectory is not None:  # which may say a class that no sample is of
            n_classes = max(n_classes, trajectory.n_classes or 0)
        if class_names is None:
            class_names = (samples and samples.class_names) or [
                str(c) if labels else "all samples" for c in range(n_classes)
            ]
        if len(class_names) < n_classes:
            raise TrajectoryError(
                f"{len(class_names)} class_names, but there are {n_classes} classes; expected one a class."
            )
        self.class_names = list(class_names)
        self.classes = np.unique(self.labels).tolist()
        self.ids = next((one.ids for one in known if one.ids is not None), None)
        self._cards: dict[int, dict[str, Any]] = {}

    def card(self, sample: int) -> dict[str, Any]:
        """What is shown of one sample."""
        if sample not in self._cards:
            self._cards[sample] = {
                "name": str(sample if self.ids is None else self.ids[sample]),
                "label": self.class_names[self.labels[sample]],
                **({} if self.samples is None else self.samples.show(sample)),
            }
        return self._cards[sample]


def _describe(name: str, table: ScoreTable, shown: _Shown, kept: list[int]) -> dict[str, Any]:
    """All that the page shows of one score."""
    scores = table.scores[name]
    order = np.argsort(-preference(scores, table.keeps[name], shown.labels), kind="stable")
    ranked = scores[order]
    thresholds = ranked[np.array(kept) - 1]
    edges = score_bins(scores)
    bins = bin_of(scores, edges)
    logarithmic = is_heavy_tailed(scores)
    scale = np.log if logarithmic else np.asarray

    def place(values: Any) -> np.ndarray:
        """Where on the axis, in percent."""
        low, high = scale(edges[[0, -1]])
        return 100 * (scale(np.clip(values, edges[0], edges[-1])) - low) / (high - low)

    labels = shown.labels[order]
    n_shown = max(1, min(_SHOWN // len(shown.classes), (shown.samples or Samples).n_shown))
    ends = []
    for c in shown.classes[:_CLASSES]:
        own = order[labels == c]
        n_most, n_least = (min(n_shown, half) for half in (-(-len(own) // 2), len(own) // 2))
        ends.append((c, [shown.card(i) for i in own[:n_most]], [shown.card(i) for i in own[: -n_least - 1 : -1]]))
    ticks = [tick for tick in _ticks(edges, logarithmic) if edges[0] <= tick <= edges[-1]]
    return {
        "keeps": table.keeps[name],
        "parameters": table.parameters[name],
        "summary": {"median": np.median(scores), "smallest": scores.min(), "largest": scores.max()},
        "ticks": [(f"{tick:g}", float(x)) for tick, x in zip(ticks, place(ticks), strict=True)],
        "logarithmic": logarithmic,
        "places": place(edges).round(3).tolist(),
        "ends": ends,
        "counts": np.bincount(bins, minlength=len(edges) - 1).tolist(),
        "live": {
            "classes": _pack(np.searchsorted(shown.classes, labels)),
            "bins": _pack(bins[order]),
            "side": {"largest": "more", "smallest": "less"}.get(table.keeps[name]),
            "thresholds": [f"{value:.4g}" for value in thresholds],
            "tied": [bool((ranked[n : n + 1] == ranked[n - 1]).any()) for n in kept],
            "places": place(thresholds).round(2).tolist(),
        },
    }


def _pack(numbers: np.ndarray) -> str:
    """Small numbers as base64: a byte each, or two, the lower first, where one is not enough for all of them."""
    return base64.b64encode(numbers.astype(np.uint8 if numbers.max() < 256 else "<u2").tobytes()).decode()


def _ticks(edges: np.ndarray, logarithmic: bool) -> np.ndarray:
    """At most seven round numbers between the first and the last edge."""
    low, high = edges[[0, -1]]
    if logarithmic:
        powers = np.arange(np.ceil(np.log10(low)), np.floor(np.log10(high)) + 1)
        return 10.0 ** powers[:: max(1, -(-len(powers) // 7))]
    rough = (high - low) / 6
    unit = 10 ** np.floor(np.log10(rough))
    size = unit * next(factor for factor in (1, 2, 5, 10) if factor * unit >= rough)
    return np.arange(np.ceil(low / size), np.floor(high / size) + 1) * size


def _suspects(table: ScoreTable, shown: _Shown, trajectory: Trajectory | None) -> dict[str, Any] | None:
    """The samples whose labels look wrong, and by which score; None where nothing tells."""
    if not shown.has_labels:
        return None
    held = {name: table.scores[name] for name in SUSPICION if name in table.scores}
    if not held and trajectory is not None and trajectory.n_classes is not None:
        held = compute_scores(open_trajectory(trajectory, labels=shown.labels), {"aum": AUM()})
    if not held:
        return None
    name, scores = next(iter(held.items()))
    order = np.argsort(-preference(scores, SUSPICION[name]), kind="stable")[:_SUSPECTS]
    cards = []
    for sample in order.tolist():
        card = shown.card(sample) | {"score": f"{scores[sample]:.3g}", "said": None}
        if trajectory is not None and trajectory.n_classes is not None:
            mean = read_sample(trajectory, sample).mean(axis=0)
            card["said"] = f"{shown.class_names[mean.argmax()]} ({mean.max():.0%})"
        cards.append(card)
    return {"method": name, "end": SUSPICION[name], "formula": METHODS[name].__doc__.split("\n")[0], "cards": cards}


def _grid(table: ScoreTable, trajectory: Trajectory, pruning_rate: float) -> dict[str, Any] | None:
    """How much of the TDDS coreset remains at other T and K; None of a trajectory that is too short for a window."""
    said, n_read = (table.source.get(key) for key in ("fingerprint", "n_epochs_read"))
    if n_read and ((trajectory.n_epochs or 0) < n_read or trajectory.fingerprint(n_read) != said):
        raise TrajectoryError(f"{trajectory.name}: is not the trajectory that was scored: its fingerprint is another.")
    n_epochs = trajectory.n_epochs or 0
    if n_epochs < 3:
        return None
    score: Any = TDDS(K=default_K(n_epochs))
    if "tdds" in table.scores:
        score = make_score("tdds", **table.parameters["tdds"])
    T, K = default_grid(n_epochs)
    overlaps = overlap_grid(trajectory, score, T, K, pruning_rate)
    return {
        "T": T,
        "K": K,
        "overlaps": overlaps.tolist(),
        "own": (score.check(n_epochs), score.K),
        "rate": pruning_rate,
    }


def _facts(table: ScoreTable) -> dict[str, str]:
    """What was scored, in words."""
    runs = table.source.get("runs", [table.source])
    shape = [f"{runs[0][what]:,} {what[2:]}" for what in ("n_samples", "n_epochs", "n_classes") if runs[0].get(what)]
    facts = {
        "Trajectory": ", ".join(str(run.get("source", "unknown")) for run in runs),
        "Size": ", ".join(shape) or f"{table.n_samples:,} samples",
        "Values": " ".join(str(runs[0][what]) for what in ("dtype", "kind") if what in runs[0]),
        "Fingerprint": ", ".join(str(run["fingerprint"]) for run in runs if "fingerprint" in run),
        "Scored by": table.created_by,
    }
    if "combined" in table.source:
        facts["Combined"] = f"{table.source['combined']} of {len(runs)} runs"
    return {key: value for key, value in facts.items() if value}


def _commands(source: dict[str, Any]) -> list[str]:
    """The commands that wrote the scores, where they are known."""
    own = [source["command"]] if "command" in source else []
    return [command for run in source.get("runs", []) for command in _commands(run)] + own
