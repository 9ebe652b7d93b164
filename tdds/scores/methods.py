"""What a sample is worth: one small object per method, its formula and its reference in its docstring.

p_t is a sample's distribution at epoch t, y its label. Only the first T epochs count; where T is left out, all that are
logged, or as many of them as the method's authors take.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from tdds import kernels
from tdds.classes import by_class
from tdds.scores.series import (
    CEDifferences,
    Correct,
    CrossEntropy,
    Entropy,
    ErrorNorm,
    KLDifferences,
    LossDifferences,
    Losses,
    Margin,
    MaxProbability,
    Series,
    TargetProbability,
    TopMargin,
    WindowedVariances,
    Windows,
)
from tdds.validation import check_choice, check_epochs, check_integer, check_real, check_windows, random_generator

#: Where the absolute value stands (inside the sum over classes?) and whether the root of Eq. 11 is taken.
FORMULATIONS = {"paper": (False, False), "reference": (True, True), "datacull": (True, False)}
LOSSES = ("kl", "ce", "el2n")
MARGINS = ("probs", "logits")


@runtime_checkable
class Score(Protocol):
    """A method: what it reads, what it makes of it, which samples are kept."""

    name: ClassVar[str]
    keeps: ClassVar[str]  # "largest", "smallest", or those nearest the "median" of their class
    needs_features: ClassVar[bool]  # it reads these, and the labels, in the place of the trajectory

    @property
    def windows(self) -> Windows | None:
        """What `reduce` wants of the windows of its series; None where it wants the series itself."""

    def check(self, n_epochs: int | None) -> int | None:
        """The number of epochs read, None for all of a stream; raises where the parameters do not fit `n_epochs`."""

    def series(self, kind: str) -> Series | None:
        """The series of a trajectory of `kind`; None where nothing is read."""

    def span(self, n_epochs: int) -> tuple[int, int]:
        """First and one past the last of the `n_epochs` epochs whose series counts."""

    def reduce(self, series: np.ndarray) -> np.ndarray:
        """One float64 a sample, or one row where `finish` makes one number of it, from the series of its span.

        Where there are `windows`, from theirs.
        """

    def finish(self, raw: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """The scores from what `reduce` gave for all samples, or from their features."""


class _Method:
    """What nearly every method does: every epoch counts, and a sample's score depends on that sample alone."""

    needs_features: ClassVar[bool] = False
    windows: ClassVar[Windows | None] = None

    def span(self, n_epochs: int) -> tuple[int, int]:
        return 0, n_epochs

    def finish(self, raw: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        return raw


class _OfNoEpoch(_Method):
    """A method that reads nothing of the trajectory but its number of samples."""

    def check(self, n_epochs: int | None) -> int | None:
        return 0

    def series(self, kind: str) -> None:
        return None


@dataclass(frozen=True)
class TDDS(_Method):
    """Temporal Dual-Depth Scoring: the moving average of the windowed variance of abs(dl_t), Eq. 8 to 12.

    Unrolled, Eq. 12 weighs the windows beta (1 - beta)^j, newest first: at beta = 0.9 the last window carries 90 %,
    the last two 99 %. T decides which K epochs count. ``loss="el2n"`` puts the norms e_t of `EL2N` in the place of
    dl_t: K of them in a window of K epochs, where there are K - 1 differences.

    X. Zhang et al., "Spanning Training Progress: Temporal Dual-Depth Scoring (TDDS) for Enhanced Dataset Pruning",
    CVPR 2024.
    """

    T: int | None = None
    K: int = 10
    beta: float = 0.9
    formulation: str = "paper"
    loss: str = "kl"
    magnitude: bool = True
    name: ClassVar[str] = "tdds"
    keeps: ClassVar[str] = "largest"

    def __post_init__(self) -> None:
        check_windows(self.T, self.K, None)
        check_real("beta", self.beta, 0, 1)
        if not isinstance(self.magnitude, (bool, np.bool_)):
            raise TypeError(f"magnitude must be True or False, got {self.magnitude!r}.")
        check_choice("formulation", self.formulation, tuple(FORMULATIONS))
        check_choice("loss", self.loss, LOSSES)

    def check(self, n_epochs: int | None) -> int | None:
        return check_windows(self.T, self.K, n_epochs)

    def series(self, kind: str) -> Series:
        if self.loss == "el2n":
            return ErrorNorm()
        if kind == "losses":
            return LossDifferences()
        if self.loss == "ce":
            return CEDifferences()
        # Float32 terms are off by 1e-7: two or three differences may lie as close, and their variance were rounding.
        return KLDifferences(FORMULATIONS[self.formulation][0] and self.magnitude, single=self.K >= 8)

    @property
    def windows(self) -> WindowedVariances:  # type: ignore[override]
        width = self.K if self.loss == "el2n" else self.K - 1
        return WindowedVariances(width, self.magnitude, FORMULATIONS[self.formulation][1])

    def gains(self, first: int, stop: int) -> np.ndarray:
        """The weight with which each window from `first` to `stop` enters Eq. 12."""
        return np.full(stop - first, float(self.beta)) if self.beta else 1.0 / np.arange(first + 1, stop + 1)

    def reduce(self, variances: np.ndarray) -> np.ndarray:
        scores = np.zeros(len(variances))
        kernels.moving_average(variances, self.gains(0, variances.shape[1]), scores)
        return scores


@dataclass(frozen=True)
class _OverEpochs(_Method):
    """A method of the first T epochs: at least `least` of them, `default_T` where T is left out."""

    T: int | None = None
    name: ClassVar[str]
    keeps: ClassVar[str] = "largest"
    least: ClassVar[int] = 1
    default_T: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        self.check(None)

    def check(self, n_epochs: int | None) -> int | None:
        return check_epochs(self.name, self.T, n_epochs, self.least, self.default_T)


@dataclass(frozen=True)
class _AtLastEpoch(_OverEpochs):
    """A method that looks at the last epoch that counts."""

    def span(self, n_epochs: int) -> tuple[int, int]:
        return n_epochs - 1, n_epochs

    def reduce(self, series: np.ndarray) -> np.ndarray:
        return series[:, 0].copy()


@dataclass(frozen=True)
class _OverWindows(_OverEpochs):
    """A method of every window of K consecutive epochs, K >= 2."""

    K: int = 10

    def __post_init__(self) -> None:
        check_integer("K", self.K, 2)
        self.check(None)

    def check(self, n_epochs: int | None) -> int | None:
        return check_epochs(self.name, self.T, n_epochs, self.K, self.default_T, windows=True)

    def series(self, kind: str) -> Series:
        return TargetProbability()

    def deviations(self, series: np.ndarray) -> np.ndarray:
        """The standard deviation (ddof 1) of every window, (n_samples, n_windows)."""
        return WindowedVariances(self.K, magnitude=False, root=True)(series) / math.sqrt(self.K - 1)


@dataclass(frozen=True)
class EntropyScore(_AtLastEpoch):
    """-sum_c p_c log p_c at the last epoch that counts.

    C. Coleman et al., "Selection via Proxy: Efficient Data Selection for Deep Learning", ICLR 2020.
    """

    name: ClassVar[str] = "entropy"

    def series(self, kind: str) -> Series:
        return Entropy()


@dataclass(frozen=True)
class LeastConfidence(_AtLastEpoch):
    """1 - max_c p_c at the last epoch that counts.

    C. Coleman et al., "Selection via Proxy: Efficient Data Selection for Deep Learning", ICLR 2020.
    """

    name: ClassVar[str] = "least_confidence"

    def series(self, kind: str) -> Series:
        return MaxProbability()

    def reduce(self, series: np.ndarray) -> np.ndarray:
        return 1.0 - series[:, 0]


@dataclass(frozen=True)
class MarginScore(_AtLastEpoch):
    """The largest p_c less the second largest at the last epoch that counts; the smallest margins are kept.

    C. Coleman et al., "Selection via Proxy: Efficient Data Selection for Deep Learning", ICLR 2020.
    """

    name: ClassVar[str] = "margin"
    keeps: ClassVar[str] = "smallest"

    def series(self, kind: str) -> Series:
        return TopMargin()


@dataclass(frozen=True)
class Loss(_AtLastEpoch):
    """-log(p_y + eps), or the logged loss, at the last epoch that counts."""

    name: ClassVar[str] = "loss"

    def series(self, kind: str) -> Series:
        return Losses() if kind == "losses" else CrossEntropy()


@dataclass(frozen=True)
class Forgetting(_OverEpochs):
    """Epochs t at which a sample right at t - 1 is wrong; T for a sample that is never right, above any count.

    Right is argmax_c p_c = y; a tie goes to the lowest class.

    M. Toneva et al., "An Empirical Study of Example Forgetting during Deep Neural Network Learning", ICLR 2019.
    """

    name: ClassVar[str] = "forgetting"
    least: ClassVar[int] = 2

    def series(self, kind: str) -> Series:
        return Correct()

    def reduce(self, series: np.ndarray) -> np.ndarray:
        counts = np.count_nonzero(series[:, 1:] < series[:, :-1], axis=1).astype(np.float64)
        counts[~series.any(axis=1)] = series.shape[1]
        return counts


@dataclass(frozen=True)
class EL2N(_OverEpochs):
    """The mean over the epochs of the norm of p - onehot(y); the first 10 epochs where T is left out.

    M. Paul et al., "Deep Learning on a Data Diet: Finding Important Examples Early in Training", NeurIPS 2021.
    """

    name: ClassVar[str] = "el2n"
    default_T: ClassVar[int | None] = 10

    def series(self, kind: str) -> Series:
        return ErrorNorm()

    def reduce(self, series: np.ndarray) -> np.ndarray:
        return series.mean(axis=1)


@dataclass(frozen=True)
class AUM(_OverEpochs):
    """Area under the margin: the mean over the epochs of p_y - max_{c != y} p_c.

    ``margin_of="logits"`` is the original: log p_y - log max_{c != y} p_c, the difference of the logits. Stored
    probabilities below 1e-8 count as 1e-8 in it; logits and log_probs are exact as far as exp(-708).

    The smallest, the hard samples, are kept, as the authors of coverage-centric selection do.

    G. Pleiss et al., "Identifying Mislabeled Data using the Area Under the Margin Ranking", NeurIPS 2020.
    """

    margin_of: str = "probs"
    name: ClassVar[str] = "aum"
    keeps: ClassVar[str] = "smallest"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("margin_of", self.margin_of, MARGINS)

    def series(self, kind: str) -> Series:
        if self.margin_of == "probs":
            return Margin()
        return Margin(of_logits=True, floor=kernels.EPS) if kind == "probs" else Margin(of_logits=True)

    def reduce(self, series: np.ndarray) -> np.ndarray:
        return series.mean(axis=1)


@dataclass(frozen=True)
class Confidence(_OverEpochs):
    """The mean over the epochs of p_y; the smallest, the hard to learn, are kept.

    S. Swayamdipta et al., "Dataset Cartography: Mapping and Diagnosing Datasets with Training Dynamics", EMNLP 2020.
    """

    default_T: int | None = None  # type: ignore[misc]  # a sampler sets it to that of the score beside
    name: ClassVar[str] = "confidence"
    keeps: ClassVar[str] = "smallest"

    def series(self, kind: str) -> Series:
        return TargetProbability()

    def reduce(self, series: np.ndarray) -> np.ndarray:
        return series.mean(axis=1)


@dataclass(frozen=True)
class Variability(_OverEpochs):
    """The standard deviation (ddof 0) over the epochs of p_y; the largest, the ambiguous, are kept.

    S. Swayamdipta et al., "Dataset Cartography: Mapping and Diagnosing Datasets with Training Dynamics", EMNLP 2020.
    """

    name: ClassVar[str] = "variability"
    least: ClassVar[int] = 2

    def series(self, kind: str) -> Series:
        return TargetProbability()

    def reduce(self, series: np.ndarray) -> np.ndarray:
        n_epochs = series.shape[1]
        return WindowedVariances(n_epochs, magnitude=False, root=True)(series)[:, 0] / math.sqrt(n_epochs)


@dataclass(frozen=True)
class DynUnc(_OverWindows):
    """Dynamic uncertainty: the mean over the T - K + 1 windows of std(p_y), ddof 1.

    M. He et al., "Large-scale Dataset Pruning with Dynamic Uncertainty", CVPR Workshops 2024.
    """

    name: ClassVar[str] = "dyn_unc"

    def reduce(self, series: np.ndarray) -> np.ndarray:
        return self.deviations(series).mean(axis=1)


@dataclass(frozen=True)
class DUAL(_OverWindows):
    """The mean over the T - K + 1 windows of std(p_y) (1 - mean p_y), ddof 1; the first 30 epochs where T is left out.

    The authors take T = 30 on CIFAR, 60 on ImageNet; their code scales by 10.

    Y. Cho et al., "Lightweight Dataset Pruning without Full Training via Example Difficulty and Prediction
    Uncertainty", ICML 2025.
    """

    name: ClassVar[str] = "dual"
    default_T: ClassVar[int | None] = 30

    def reduce(self, series: np.ndarray) -> np.ndarray:
        means = np.empty((len(series), series.shape[1] - self.K + 1))
        kernels.windowed_mean(series, means)
        return (self.deviations(series) * (1.0 - means)).mean(axis=1)


@dataclass(frozen=True)
class EVA(_OverEpochs):
    """w V_i / sum_j V_j + (1 - w) V'_i / sum_j V'_j, w = 0.5, V and V' the variance of e_t early and late in training.

    e_t is the norm of p_t - onehot(y); early is [0, T/20), late [T/2, T/2 + T/20), rounded down and at least two epochs
    each: [0, 10) and [100, 110) of the authors' 200. The sums run over all samples j, so a sample's score depends on
    the others; a window in which no sample moves counts 0.

    Y. Hong et al., "Evolution-aware VAriance (EVA) Coreset Selection for Medical Image Classification", ACM MM 2024.
    """

    name: ClassVar[str] = "eva"
    least: ClassVar[int] = 4
    early_weight: ClassVar[float] = 0.5

    def series(self, kind: str) -> Series:
        return ErrorNorm()

    def reduce(self, series: np.ndarray) -> np.ndarray:
        n_epochs = series.shape[1]
        variance = WindowedVariances(max(2, n_epochs // 20), magnitude=False)
        return np.hstack([variance(series[:, first : first + variance.width]) for first in (0, n_epochs // 2)])

    def finish(self, raw: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        totals = [math.fsum(column) or 1.0 for column in raw.T]  # exact: the order of the samples changes nothing
        return self.early_weight * (raw[:, 0] / totals[0]) + (1.0 - self.early_weight) * (raw[:, 1] / totals[1])


@dataclass(frozen=True)
class Moderate(_OfNoEpoch):
    """The distance of a sample's features to the mean of its class; those nearest the median of their class are kept.

    The features are what a trained model makes of each sample, the output of its last hidden layer. The authors' script
    takes the median of each feature for the centre, and one median of all distances.

    X. Xia et al., "Moderate Coreset: A Universal Method of Data Selection for Real-world Data-efficient Deep Learning",
    ICLR 2023.
    """

    name: ClassVar[str] = "moderate"
    keeps: ClassVar[str] = "median"
    needs_features: ClassVar[bool] = True

    def finish(self, raw: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        distances = np.empty(len(raw))
        for own in by_class(np.asarray(labels)):
            features = raw[own].astype(np.float64)
            distances[own] = np.linalg.norm(features - features.mean(axis=0), axis=1)
        return distances


@dataclass(frozen=True)
class Random(_OfNoEpoch):
    """Uniform in [0, 1), seeded; the baseline."""

    random_state: Any = None
    name: ClassVar[str] = "random"
    keeps: ClassVar[str] = "largest"

    def finish(self, raw: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        return random_generator(self.random_state).random(len(raw))


_ALL: tuple[Any, ...] = (
    TDDS,
    EntropyScore,
    Forgetting,
    EL2N,
    AUM,
    DynUnc,
    DUAL,
    EVA,
    MarginScore,
    LeastConfidence,
    Confidence,
    Variability,
    Loss,
    Moderate,
    Random,
)

#: Every method by name.
METHODS: dict[str, Any] = {method.name: method for method in _ALL}
