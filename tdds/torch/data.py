"""Data sets that name their samples, coresets with weights, and the weighted loss."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Sampler

from tdds.samplers import WEIGHTINGS
from tdds.torch.batches import rank_and_world_size
from tdds.validation import check_choice, check_integer


class IndexedDataset(Dataset[Any]):
    """A dataset whose items carry their index: `[i]` is ``(i, *item)``.

    Parameters
    ----------
    dataset : Dataset
        With ``len`` and ``[i]``. An item that is no tuple and no list comes whole: ``(i, item)``, so a dict reaches the
        loop as ``index, batch``, with the keys that the model expects and no other.

    Attributes
    ----------
    dataset : Dataset
        The wrapped one; its attributes are found there and not here.

    Raises
    ------
    TypeError
        The dataset has no length or no ``[i]``: samples of an iterable dataset have no index to be known by.

    Examples
    --------
    >>> from tdds.torch import IndexedDataset
    >>> IndexedDataset([("a", 0), ("b", 1)])[1]
    (1, 'b', 1)
    >>> IndexedDataset([{"x": "a"}])[0]
    (0, {'x': 'a'})
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = _check_map_style(dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> tuple[Any, ...]:
        i = _position(i, len(self))
        return (i, *_as_items(self.dataset[i]))

    def __getitems__(self, batch: Sequence[int]) -> list[tuple[Any, ...]]:
        positions = [_position(i, len(self)) for i in batch]
        return [(i, *_as_items(item)) for i, item in zip(positions, _read(self.dataset, positions), strict=True)]


class CoresetDataset(Dataset[Any]):
    """The samples of a dataset that are kept, each with its weight: `[j]` is ``(*item, weight)``.

    ``IndexedDataset(CoresetDataset(...))`` counts from 0 within the coreset, ``CoresetDataset(IndexedDataset(...))``
    gives the index in the original data.

    Parameters
    ----------
    dataset : Dataset
        The whole one, with ``len`` and ``[i]``.
    coreset : fitted selector or CoresetClassifier, or (n_kept,) integers
        A selector brings its `sample_indices_` and `sample_weight_`.
    weights : (n_kept,) floats, optional
        In the place of the selector's; 1 for indices alone.

    Attributes
    ----------
    dataset : Dataset
    indices : (n_kept,) int64 array
    weights : (n_kept,) float32 tensor

    Raises
    ------
    NotFittedError
        The selector is not fitted.
    TypeError, ValueError
        Indices are no integers or out of range, the selector is of another number of samples, weights are of another
        number, negative or not finite.

    Examples
    --------
    >>> from tdds.torch import CoresetDataset
    >>> kept = CoresetDataset([("a", 0), ("b", 1), ("c", 0)], [0, 2], weights=[0.5, 1.5])
    >>> kept[1]
    ('c', 0, tensor(1.5000))
    """

    def __init__(self, dataset: Any, coreset: Any, weights: Any = None) -> None:
        self.dataset = _check_map_style(dataset)
        self.indices, own_weights = _as_coreset(coreset, len(dataset))
        weights = own_weights if weights is None else weights
        weights = torch.as_tensor(weights, dtype=torch.float32, device="cpu")
        if weights.shape != self.indices.shape:
            raise ValueError(
                f"weights have shape {tuple(weights.shape)}; expected one a kept sample, {self.indices.shape}."
            )
        if not (weights.isfinite() & (weights >= 0)).all():
            raise ValueError("weights hold a value that is negative or not finite.")
        self.weights = weights

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, j: int) -> tuple[Any, ...]:
        j = _position(j, len(self))
        return (*_as_items(self.dataset[int(self.indices[j])]), self.weights[j])

    def __getitems__(self, batch: Sequence[int]) -> list[tuple[Any, ...]]:
        positions = [_position(j, len(self)) for j in batch]
        items = _read(self.dataset, self.indices[positions].tolist())
        return [(*_as_items(item), self.weights[j]) for j, item in zip(positions, items, strict=True)]


class CoresetSampler(Sampler[int]):
    """Draw the kept samples of the whole dataset, shared among the processes of DistributedDataParallel.

    Every process draws equally many. All kept samples are drawn, and the first few twice where they do not divide
    evenly; with `drop_last` the last few not at all.

    Parameters
    ----------
    coreset : fitted selector or CoresetClassifier, or (n_kept,) integers
    shuffle : bool, default True
        Another order in every epoch, the same in all processes before it is shared out.
    seed : int, default 0
        The same in all processes.
    num_replicas, rank : int, optional
        World size and rank of `torch.distributed` where it is initialised, else 1 and 0.
    drop_last : bool, default False

    Raises
    ------
    NotFittedError, TypeError, ValueError
        As for `CoresetDataset`; or `rank` is not below `num_replicas`.

    Examples
    --------
    >>> from tdds.torch import CoresetSampler
    >>> [list(CoresetSampler([3, 5, 8], shuffle=False, num_replicas=2, rank=rank)) for rank in (0, 1)]
    [[3, 8], [5, 3]]
    """

    def __init__(
        self,
        coreset: Any,
        *,
        shuffle: bool = True,
        seed: int = 0,
        num_replicas: int | None = None,
        rank: int | None = None,
        drop_last: bool = False,
    ) -> None:
        rank, num_replicas = rank_and_world_size(rank, num_replicas, ("rank", "num_replicas"))
        if check_integer("rank", rank, 0) >= check_integer("num_replicas", num_replicas, 1):
            raise ValueError(f"rank={rank} of num_replicas={num_replicas}; expected 0 to {num_replicas - 1}.")
        self.indices, _ = _as_coreset(coreset, None)
        self.shuffle, self.seed, self.drop_last = shuffle, seed, drop_last
        self.num_replicas, self.rank = num_replicas, rank
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next, as for DistributedSampler; a single process may leave it out.

        Parameters
        ----------
        epoch : int
        """
        self.epoch = epoch

    def __len__(self) -> int:
        return (len(self.indices) + (0 if self.drop_last else self.num_replicas - 1)) // self.num_replicas

    def __iter__(self) -> Iterator[int]:
        order = np.arange(len(self.indices))
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(order)
        if self.num_replicas == 1:
            self.epoch += 1  # several processes could fall out of step
        order = np.resize(order, len(self) * self.num_replicas)  # repeats from the start, or cuts
        return iter(self.indices[order[self.rank :: self.num_replicas]].tolist())


def weighted_loss(losses: Tensor, weights: Tensor, weighting: str = "per_sample") -> Tensor:
    """Loss of a batch in which each sample counts by its weight (Eq. 13).

    Parameters
    ----------
    losses : tensor of shape (n_rows,)
        One a sample: ``cross_entropy(logits, y, reduction="none")``.
    weights : tensor of shape (n_rows,)
        As `CoresetDataset` gives them, from a selector of the same `weighting`.
    weighting : {"per_sample", "root", "batch_mean", "none"}, default "per_sample"
        "per_sample" and "root": mean(weight * loss), Eq. 13. "batch_mean": mean(loss) * mean(weight), what the authors'
        script does. "none": mean(loss).

    Returns
    -------
    tensor of shape ()

    Raises
    ------
    ValueError
        Losses or weights are not one a sample.

    Examples
    --------
    >>> import torch
    >>> from tdds.torch import weighted_loss
    >>> losses, weights = torch.tensor([1.0, 3.0]), torch.tensor([0.5, 1.5])
    >>> weighted_loss(losses, weights), weighted_loss(losses, weights, "batch_mean")
    (tensor(2.5000), tensor(2.))
    """
    check_choice("weighting", weighting, WEIGHTINGS)
    if losses.ndim != 1 or losses.shape != weights.shape:
        raise ValueError(
            f"losses have shape {tuple(losses.shape)} and weights {tuple(weights.shape)}; expected (n_rows,) for both: "
            "one loss a sample, as reduction='none' gives it."
        )
    weights = weights.to(losses)
    if weighting == "none":
        return losses.mean()
    return losses.mean() * weights.mean() if weighting == "batch_mean" else (losses * weights).mean()


def _check_map_style(dataset: Any) -> Any:
    if isinstance(dataset, IterableDataset) or not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(f"Expected a dataset with len() and [i], got {type(dataset).__name__}.")
    return dataset


def _read(dataset: Any, batch: list[int]) -> Any:
    """The items at `batch`, at once where the dataset can, as Hugging Face's do."""
    read = getattr(dataset, "__getitems__", None)
    return [dataset[i] for i in batch] if read is None else read(batch)


def _position(i: Any, length: int) -> int:
    position = operator.index(i)
    if not -length <= position < length:
        raise IndexError(f"Item {position} of {length}.")  # which also ends a for loop over the dataset
    return position % length


def _as_items(item: Any) -> tuple[Any, ...]:
    return tuple(item) if isinstance(item, (tuple, list)) else (item,)


def _as_coreset(coreset: Any, n_samples: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Indices, (n_kept,) int64, and weights, those of a fitted selector, or the indices as they are, checked, and 1."""
    if isinstance(coreset, BaseEstimator):
        check_is_fitted(coreset)
        selector = getattr(coreset, "selector_", coreset)
        if n_samples not in (None, len(selector.support_)):
            raise ValueError(f"The selector knows {len(selector.support_)} samples, the dataset holds {n_samples}.")
        return selector.sample_indices_, selector.sample_weight_
    indices = np.asarray(coreset)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"A coreset is a fitted selector or integer indices; got {indices.dtype}.")
    if indices.ndim != 1 or not len(indices):
        raise ValueError(f"Indices must have shape (n_kept,), one or more; got {indices.shape}.")
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or (n_samples is not None and high >= n_samples):
        bad = low if low < 0 else high
        upper = "or more" if n_samples is None else f"to {n_samples - 1}"
        raise ValueError(f"Index {bad} is out of range; expected 0 {upper}.")
    return indices.astype(np.int64), np.ones(len(indices))
