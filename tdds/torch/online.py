"""Score a run on the device while it trains; no trajectory is stored."""

from __future__ import annotations

import weakref
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tdds.kernels import EPS
from tdds.scores import TDDS, ErrorNorm, KLDifferences, LossDifferences
from tdds.torch.batches import DTYPES, Background, as_batch, as_kind, check_logits, dtype_name
from tdds.validation import TrajectoryError, check_choice, check_integer, check_labels, missing_sample


class OnlineTDDS:
    """TDDS of a training run as it goes, on the device: the run ends with scores, and no trajectory.

    Holds one epoch of probabilities and, in float64, K - 1 differences and the moving average of each sample: for
    ImageNet (1,281,167 samples, 1,000 classes, K = 10) 2.6 GB and 0.1 GB. The scores are those that
    `tdds.score_trajectory` gives for a trajectory recorded in the same `dtype`: differences are taken in float64 of
    probabilities that are rounded as the recorder rounds them. They agree to 1e-9 relative, and to 1e-5 from K = 8 on,
    where `tdds.score_trajectory` takes the differences of narrower types in float32.

    Every process must be given all samples: under DistributedDataParallel gather index and logits first, or record.

    Parameters
    ----------
    n_samples : int
    n_classes : int or None
        None where `update` is given losses, one a sample.
    score : TDDS, optional
        A `tdds.scores.TDDS`; or pass its parameters (T, K, beta, formulation, loss, magnitude) by name.
    labels : array-like of shape (n_samples,), optional
        Integers in [0, n_classes), needed by ``loss="ce"`` and ``loss="el2n"``.
    dtype : {"float16", "float32", "float64", "bfloat16"} or torch.dtype, default "float16"
        What the probabilities are held in.
    device : torch.device or str, default "cpu"
        Where they are held. On "cpu" the batches of another device come through pinned memory and are worked on in a
        thread, so that the device never waits.
    missing : {"error", "carry"}, default "error"
        A sample that an epoch lacks raises, or keeps its previous value; before it has one, nothing of it changes.
    duplicates : {"error", "last"}, default "error"
        A sample that comes twice in an epoch raises, or keeps its last value, as a store does; that takes a second
        epoch of memory.
    **parameters
        Of `tdds.scores.TDDS`, where `score` is left out.

    Attributes
    ----------
    n_epochs : int
        Epochs ended so far, at most T.

    Raises
    ------
    TypeError, ValueError
        A parameter is out of range, or labels are needed.

    Examples
    --------
    >>> import torch
    >>> from tdds.samplers import importance_weights, top
    >>> from tdds.torch import CoresetDataset, OnlineTDDS
    >>> data = torch.utils.data.TensorDataset(torch.randn(20, 4), torch.randint(3, (20,)))
    >>> online = OnlineTDDS(n_samples=20, n_classes=3, K=4, beta=0.9)
    >>> for epoch in range(6):
    ...     for index in torch.randperm(20).split(8):
    ...         online.update(index, torch.randn(len(index), 3))  # in the training loop: the model's logits
    ...     online.end_epoch()
    >>> scores = online.scores()
    >>> kept = top(scores, n_kept=5)
    >>> len(CoresetDataset(data, kept, importance_weights(scores, kept)))
    5
    """

    def __init__(
        self,
        n_samples: int,
        n_classes: int | None,
        score: TDDS | None = None,
        *,
        labels: Any = None,
        dtype: str | torch.dtype = "float16",
        device: torch.device | str = "cpu",
        missing: str = "error",
        duplicates: str = "error",
        **parameters: Any,
    ) -> None:
        check_choice("missing", missing, ("error", "carry"))
        check_choice("duplicates", duplicates, ("error", "last"))
        if score is not None and parameters:
            raise ValueError(f"Pass score or its parameters, not both; got {', '.join(parameters)}.")
        self.score = TDDS(**parameters) if score is None else score
        self._shape = check_integer("n_samples", n_samples, 1), n_classes
        series = self.score.series("losses" if n_classes is None else "probs")
        if series.needs_probs and n_classes is None:
            raise ValueError(f"loss={self.score.loss!r} needs probabilities; pass n_classes.")
        if series.needs_labels and labels is None:
            raise ValueError(f"loss={self.score.loss!r} needs labels; pass labels=, one integer a sample.")
        self._series: Any = series
        self.missing, self.duplicates = missing, duplicates
        self.dtype, self.device = DTYPES[dtype_name(dtype, DTYPES)], torch.device(device)
        self.n_epochs = 0
        self._n_rows = self._epoch_row = 0  # rows taken so far, and when the epoch began
        row = () if n_classes is None else (check_integer("n_classes", n_classes, 1),)
        self._labels: Any = None
        if labels is not None:
            self._labels = torch.from_numpy(check_labels(labels, n_samples, n_classes)).to(self.device)
        new: dict[str, Any] = {"device": self.device}
        self._state = {
            "previous": torch.zeros((n_samples, *row), dtype=self.dtype, **new),
            "stamp": torch.full((n_samples,), -1, dtype=torch.int64, **new),  # the last row of each sample
            "diffs": torch.zeros((self.score.windows.width, n_samples), dtype=torch.float64, **new),
            "average": torch.zeros(n_samples, dtype=torch.float64, **new),
            "known": torch.zeros(n_samples, dtype=torch.bool, **new),  # given in an epoch that has ended
            "faults": torch.full((3,), -1, dtype=torch.int64, **new),  # a sample out of range, invalid, twice
        }
        if duplicates == "last":
            self._state["before"] = torch.zeros_like(self._state["previous"])
        self._background: Background | None = None

    def __repr__(self) -> str:
        return f"<OnlineTDDS {self._shape[0]} samples, {self.n_epochs} epochs, {self.score}>"

    def update(self, index: Any, logits: Tensor) -> None:
        """Take the predictions for a batch; ignored after T epochs.

        Parameters
        ----------
        index : int tensor on any device, array or list, shape (n_rows,)
            The sample of each row, from 0.
        logits : tensor of shape (n_rows, n_classes), or (n_rows,) of losses
            Of any floating type and device, with or without gradient.

        Raises
        ------
        TypeError, ValueError
            The batch has the wrong type or shape, names a sample out of range, or is the first and holds probabilities
            in the place of logits.
        """
        samples, logits = as_batch(index, logits, *self._shape)
        if self._n_rows == 0:
            check_logits(logits)
        if self.n_epochs == self.score.T:
            return
        values = as_kind(logits, "losses" if self._shape[1] is None else "probs", self.dtype).to(self.dtype)
        if self.device.type == "cpu" != values.device.type:
            if self._background is None:
                self._background = Background()
                weakref.finalize(self, self._background.stop)
            self._background.put(self._take, samples, values)
        else:
            self._take(samples.to(self.device, non_blocking=True), values.to(self.device, non_blocking=True))

    def end_epoch(self) -> None:
        """End the epoch; ignored after T epochs. After a TrajectoryError for missing samples, it can be completed.

        Raises
        ------
        TrajectoryError
            A sample is missing, or came twice, or its prediction is nan: sample and epoch are named.
        """
        self._wait()
        if self.n_epochs == self.score.T:
            return
        seen = self._state["stamp"] >= self._epoch_row
        self._check_epoch(seen)
        diffs, average = self._state["diffs"], self._state["average"]
        if self.n_epochs >= self._series.between_epochs:
            column = self._column
            carried = torch.zeros_like(average) if self._series.between_epochs else diffs[column - 1]
            diffs[column] = torch.where(seen, diffs[column], carried)
            first = seen & ~self._state["known"]  # what they are from now on, they have been: no difference before
            diffs[:, first] = 0 if self._series.between_epochs else diffs[column, first]
        self._state["known"] |= seen
        self.n_epochs += 1
        self._epoch_row = self._n_rows
        n_windows = self.n_epochs - self.score.K + 1
        if n_windows >= 1:
            gain = float(self.score.gains(n_windows - 1, n_windows)[0])
            average.mul_(1 - gain).add_(self._variances(), alpha=gain)

    def scores(self) -> np.ndarray:
        """Give the scores of the epochs ended so far.

        Returns
        -------
        (n_samples,) float64 array

        Raises
        ------
        ValueError
            Before the K-th epoch.
        TrajectoryError
            A sample was never given.
        """
        if self.n_epochs < self.score.K:
            raise ValueError(f"{self.n_epochs} epochs so far; the first score comes with epoch K={self.score.K}.")
        if len(absent := (~self._state["known"]).nonzero()[:, 0]):
            raise TrajectoryError(f"No epoch so far holds sample {int(absent[0])}.")
        return self._state["average"].to("cpu", copy=True).numpy()

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs, in the middle of an epoch too: save it in the training checkpoint.

        As in torch, the tensors are those in use, no copies.

        Returns
        -------
        dict of tensors, numbers and strings
        """
        self._wait()
        counts = {"n_epochs": self.n_epochs, "n_rows": self._n_rows, "epoch_row": self._epoch_row}
        return {**self._settings(), **counts, **self._state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave, on whatever device.

        Parameters
        ----------
        state : dict

        Raises
        ------
        ValueError
            It is of other samples, classes or parameters: the first is named.
        """
        for name, ours in self._settings().items():
            if name not in state or state[name] != ours:
                raise ValueError(f"This state has {name}={state.get(name)!r}, this object {name}={ours!r}.")
        if self._background is not None:
            self._background.wait()
            self._background.error = None
        for name, tensor in self._state.items():
            tensor.copy_(state[name])
        self.n_epochs, self._n_rows, self._epoch_row = state["n_epochs"], state["n_rows"], state["epoch_row"]

    def _settings(self) -> dict[str, Any]:
        """What must not change between saving and loading, in types that torch loads with ``weights_only=True``."""
        n_samples, n_classes = self._shape
        settings = {"n_samples": n_samples, "n_classes": n_classes, "dtype": str(self.dtype)}
        settings |= {"duplicates": self.duplicates, **asdict(self.score)}
        return {name: value.item() if isinstance(value, np.generic) else value for name, value in settings.items()}

    @property
    def _column(self) -> int:
        """Where the differences of this epoch are held."""
        return (self.n_epochs - self._series.between_epochs) % self.score.windows.width

    def _wait(self) -> None:
        if self._background is not None:
            self._background.wait()
            if self._background.error is not None:
                raise TrajectoryError(f"Scoring epoch {self.n_epochs} failed: {self._background.error}") from (
                    self._background.error
                )

    @torch.no_grad()
    def _take(self, samples: Tensor, values: Tensor) -> None:
        """Take a batch on our device, without ever waiting for it."""
        state, n_samples = self._state, self._shape[0]
        start, self._n_rows = self._n_rows, self._n_rows + len(samples)
        rows = torch.arange(start, self._n_rows, device=self.device)
        index = samples.clamp(0, n_samples - 1)
        seen = state["stamp"][index] >= self._epoch_row
        state["stamp"].scatter_reduce_(0, index, rows, "amax")
        last = state["stamp"][index]
        # Rows of the same sample all become the last of them, so that the order of writing does not matter.
        values = values[last - start]
        previous = state["previous"][index]
        if "before" in state:
            previous = torch.where(seen if values.ndim == 1 else seen[:, None], state["before"][index], previous)
            state["before"][index] = previous
        state["previous"][index] = values
        invalid = ~values.isfinite() if values.ndim == 1 else ~values.isfinite().all(dim=1)
        faults = torch.stack([samples != index, invalid, seen | (last != rows)])
        if len(rows):
            torch.maximum(state["faults"], torch.where(faults, index, -1).amax(dim=1), out=state["faults"])
        if self.n_epochs >= self._series.between_epochs:
            state["diffs"][self._column, index] = self._differences(previous.double(), values.double(), index)

    def _differences(self, previous: Tensor, current: Tensor, index: Tensor) -> Tensor:
        """The score's series between two epochs, or at the current one, (n_rows,) float64; all in float64."""
        if isinstance(self._series, KLDifferences):
            moved = current - previous
            terms = current * torch.log1p(moved / (previous + EPS))
            return (terms.abs() if self._series.inner_magnitude else terms - moved).sum(dim=1)
        if isinstance(self._series, LossDifferences):
            return current - previous
        labels = self._labels[index][:, None]
        if isinstance(self._series, ErrorNorm):
            return (current - torch.zeros_like(current).scatter_(1, labels, 1.0)).square().sum(dim=1).sqrt()
        return ((current.gather(1, labels) + EPS).log() - (previous.gather(1, labels) + EPS).log())[:, 0]

    def _variances(self) -> Tensor:
        """Eq. 11 of the window of the last K epochs, (n_samples,), in two passes, shifted by one of its values."""
        windows = self.score.windows
        diffs = self._state["diffs"].abs() if windows.magnitude else self._state["diffs"]
        shifted = diffs - diffs[0]
        total = (shifted - shifted.mean(dim=0)).square().sum(dim=0)
        return total.sqrt() if windows.root else total

    def _check_epoch(self, seen: Tensor) -> None:
        outside, invalid, twice = self._state["faults"].tolist()
        spoilt = "; the scores are spoilt: go on from a checkpoint."
        if outside >= 0:
            raise TrajectoryError(f"Epoch {self.n_epochs} was given a sample outside 0 to {self._shape[0] - 1}{spoilt}")
        if invalid >= 0:
            raise TrajectoryError(
                f"Prediction of sample {invalid} at epoch {self.n_epochs} is nan or infinite{spoilt} "
                "Did the training diverge?"
            )
        if twice >= 0 and self.duplicates == "error":
            raise TrajectoryError(
                f"Epoch {self.n_epochs} was given sample {twice} twice{spoilt} duplicates='last' keeps the later one, "
                "in twice the memory."
            )
        absent = (~seen).nonzero()[:, 0]
        if len(absent) and self.missing == "error":
            raise missing_sample(int(absent[0]), self.n_epochs, len(absent))
