"""PyTorch: record a trajectory from a training loop or score it there, and train on the coreset.

Three lines record a run: an `IndexedDataset`, ``recorder.update(index, logits)``, ``recorder.end_epoch()``. What is
recorded is the prediction on the augmented input in training mode, as the paper does: under mixup or cutmix that is the
prediction for the mixed input, filed under the sample that `index` names. Label smoothing, gradient accumulation,
autocast and compiled models change nothing; call `update` outside the compiled function. `evaluate` records in
evaluation mode instead.
"""

try:
    import torch  # noqa: F401
except ModuleNotFoundError:
    raise ImportError("tdds.torch needs PyTorch: pip install 'tdds-coreset[torch]'") from None

from tdds.torch.data import CoresetDataset, CoresetSampler, IndexedDataset, weighted_loss
from tdds.torch.online import OnlineTDDS
from tdds.torch.recorder import TrajectoryRecorder, evaluate

__all__ = [
    "TrajectoryRecorder",
    "OnlineTDDS",
    "evaluate",
    "IndexedDataset",
    "CoresetDataset",
    "CoresetSampler",
    "weighted_loss",
]
