"""Record a trajectory from Lightning's Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ModuleNotFoundError:
    raise ImportError("tdds.callbacks.lightning needs Lightning: pip install 'tdds-coreset[lightning]'") from None

from tdds.callbacks.recording import Recording


class RecordTrajectory(Recording, Callback):
    """Record what a LightningModule predicts for the batches it trains on.

    ``training_step`` returns, beside the loss, which samples the batch holds and what was predicted for them:
    ``{"loss": loss, "index": index, "logits": logits}``. Where the index comes from is its own business;
    `tdds.torch.IndexedDataset` puts it first in the batch. Validation, sanity check and testing are not recorded.

    An epoch is on disk once its last batch is trained, before validation and checkpoint. One that stops early, or that
    training resumed in its middle, is left out with a warning. A checkpoint holds how many epochs were recorded, so
    that ``trainer.fit(..., ckpt_path=...)`` goes on with the right one, and an exception leaves whole epochs. With
    several processes each records its part.

    Parameters
    ----------
    sink : path-like, or object with update, end_epoch and n_epochs
        Directory of the store, for which a `tdds.torch.TrajectoryRecorder` is opened when training starts. Or a
        `tdds.torch.OnlineTDDS`, which keeps no trajectory; its state is not part of the checkpoint.
    **options
        Of `tdds.torch.TrajectoryRecorder`, where `sink` is a path: n_samples, n_classes, labels, kind, dtype, split ...

    Attributes
    ----------
    recorder : TrajectoryRecorder, or `sink`
        None until training starts, where `sink` is a path.

    Raises
    ------
    TypeError
        Options beside a sink that is made already, or ``training_step`` returns something else.
    FileExistsError, TrajectoryError, ValueError
        When training starts, as for `tdds.torch.TrajectoryRecorder`.

    Examples
    --------
    In the LightningModule, with a DataLoader of a `tdds.torch.IndexedDataset`::

        def training_step(self, batch):
            index, x, y = batch
            logits = self(x)
            return {"loss": cross_entropy(logits, y), "index": index, "logits": logits}

    and in the script::

        record = RecordTrajectory("run", n_samples=50_000, n_classes=10)
        Trainer(max_epochs=30, callbacks=[record]).fit(module, loader)
        scores = tdds.score_trajectory("run")
    """

    def __init__(self, sink: Any, **options: Any) -> None:
        super().__init__(sink, **options)
        self._resumed: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open(self._resumed)
        self._resumed = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            self._begin_epoch()
        if not (isinstance(outputs, Mapping) and {"index", "logits"} <= set(outputs)):
            what = sorted(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__
            raise TypeError(f"training_step must return a dict of 'loss', 'index' and 'logits'; got {what}.")
        self._update(outputs["index"], outputs["logits"])
        if trainer.is_last_batch:
            self._end_epoch()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop_epoch()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def state_dict(self) -> dict[str, Any]:
        return {} if self.recorder is None else {"n_epochs": self.recorder.n_epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = state_dict["n_epochs"]
