"""Record a trajectory from Keras, on any backend."""

from __future__ import annotations

import os
from typing import Any

try:
    from keras.callbacks import Callback
except ModuleNotFoundError as error:
    if error.name != "keras":  # its backend, of which it says itself what is missing
        raise
    raise ImportError("tdds.callbacks.keras needs Keras 3: pip install 'tdds-coreset[keras]'") from None

from tdds.store import TrajectoryWriter


class RecordTrajectory(Callback):
    """Record, after each epoch of ``model.fit``, what the model predicts for every training sample.

    Keras shows a callback no predictions of the training step, on none of its backends. So what is recorded is
    ``model.predict(x)`` at the end of the epoch: in evaluation mode, without augmentation, at the cost of one more
    forward pass over the data. An epoch is on disk when `on_epoch_end` returns, so an exception leaves whole epochs.

    Training that starts at an epoch other than 0 (``fit(initial_epoch=...)``, `keras.callbacks.BackupAndRestore`)
    continues the store, and keeps the epochs before that one.

    Parameters
    ----------
    path : path-like
        Directory of the store; open it with `tdds.open_trajectory`.
    x : array, or whatever ``model.predict`` takes
        The training inputs, in the order of the samples: never shuffled.
    n_samples, n_classes : int
    batch_size : int, optional
        Of the prediction; Keras takes 32 where it is left out.
    **options
        Of `tdds.TrajectoryWriter`: ``kind="logits"`` for a model without softmax, labels, ids, dtype, split ...

    Attributes
    ----------
    writer : TrajectoryWriter
        None until training starts.

    Raises
    ------
    FileExistsError, TrajectoryError, TypeError, ValueError
        During training, as for `tdds.TrajectoryWriter`.

    Examples
    --------
    >>> import keras, numpy, tdds, tempfile
    >>> from tdds.callbacks.keras import RecordTrajectory
    >>> x, y = numpy.random.normal(size=(20, 4)), numpy.arange(20) % 3
    >>> model = keras.Sequential([keras.layers.Dense(3, activation="softmax")])
    >>> model.compile("sgd", "sparse_categorical_crossentropy")
    >>> folder = tempfile.TemporaryDirectory()
    >>> record = RecordTrajectory(folder.name, x, n_samples=20, n_classes=3, labels=y)
    >>> history = model.fit(x, y, epochs=4, verbose=0, callbacks=[record])
    >>> tdds.score_trajectory(folder.name, K=3).shape
    (20,)
    >>> folder.cleanup()
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        x: Any,
        n_samples: int,
        n_classes: int,
        *,
        batch_size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.path, self.x, self.n_samples, self.n_classes = path, x, n_samples, n_classes
        self.batch_size, self.options = batch_size, options
        self.writer: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        self.writer = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.writer is None:
            resume = {"resume": True, "keep_epochs": epoch} if epoch else {}
            self.writer = TrajectoryWriter(self.path, self.n_samples, self.n_classes, **{**self.options, **resume})

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.writer.write(None, self.model.predict(self.x, batch_size=self.batch_size, verbose=0))
        self.writer.end_epoch()

    def on_train_end(self, logs: Any = None) -> None:
        if self.writer is not None:  # or there was no epoch left to train
            self.writer.close()
