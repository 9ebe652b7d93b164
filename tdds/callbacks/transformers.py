"""Record a trajectory from Hugging Face's Trainer."""

from __future__ import annotations

from typing import Any

try:
    import torch
    from transformers import TrainerCallback, TrainerState, TrainingArguments
except ModuleNotFoundError:
    raise ImportError(
        "tdds.callbacks.transformers needs transformers: pip install 'tdds-coreset[transformers]'"
    ) from None

from tdds.callbacks.recording import Recording

_KEY = "tdds.RecordTrajectory"  # in trainer_state.json


class RecordTrajectory(Recording, TrainerCallback):
    """Record what a model predicts for the batches that `transformers.Trainer` trains it on.

    The training set has a column ``index``, the number of each sample, which
    ``TrainingArguments(remove_unused_columns=False)`` leaves there. A hook on the model takes it out of the inputs
    before the model sees it, and a second one records the ``logits`` of the output: those of the forward pass that is
    trained on. Evaluation is not recorded; label smoothing and gradient accumulation change nothing. The hooks are
    removed when training ends.

    An epoch is on disk once its last batch is trained, before evaluation and checkpoint. One that stops early
    (``max_steps``), or that training resumed in its middle, is left out with a warning. A checkpoint holds how many
    epochs were recorded, so that ``resume_from_checkpoint`` goes on with the right one, and an exception leaves whole
    epochs. With several processes each records its part.

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
        Options beside a sink that is made already, or the model's output has no logits.
    FileExistsError, TrajectoryError, ValueError
        When training starts, as for `tdds.torch.TrajectoryRecorder`, or the column is missing or would be removed.

    Examples
    --------
    With the columns that the model takes, and one more::

        train = train.map(lambda row, i: {"index": i}, with_indices=True)
        record = RecordTrajectory("run", n_samples=len(train), n_classes=model.config.num_labels)
        args = TrainingArguments("checkpoints", num_train_epochs=10, remove_unused_columns=False)
        Trainer(model, args, train_dataset=train, callbacks=[record]).train()
        scores = tdds.score_trajectory("run", K=5)
    """

    def __init__(self, sink: Any, **options: Any) -> None:
        super().__init__(sink, **options)
        self._hooks: list[Any] = []
        self._midway = False

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: Any, **kwargs: Any) -> None:
        if args.remove_unused_columns:
            raise ValueError(
                "The Trainer would remove the column 'index'; pass TrainingArguments(remove_unused_columns=False) and "
                "a training set of this column and what the model takes."
            )
        self._unhook()
        self._open(_states(state).get(_KEY, {}).get("n_epochs"))
        self._remember(state)
        self._midway = not (args.ignore_data_skip or float(state.epoch or 0).is_integer())
        # A function of its own, not our method: who copies the model must not copy us.
        self._hooks = [
            kwargs["model"].register_forward_pre_hook(_take_index, with_kwargs=True),
            kwargs["model"].register_forward_hook(lambda model, inputs, outputs: self._record(model, outputs)),
        ]

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self._midway:
            self._begin_epoch()
        self._midway = False

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        if float(state.epoch).is_integer():
            self._end_epoch()
            self._remember(state)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._stop_epoch()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._unhook()
        self._close()

    def _remember(self, state: TrainerState) -> None:
        """For the next checkpoint."""
        _states(state)[_KEY] = {"n_epochs": self.recorder.n_epochs}

    def _record(self, model: torch.nn.Module, outputs: Any) -> None:
        index = vars(model).pop("_tdds_index")
        if not model.training:
            return
        if index is None:
            raise ValueError("A batch of training has no 'index'; add the column to the training set and its collator.")
        if not (isinstance(outputs, dict) and "logits" in outputs):
            raise TypeError(f"The model must return a dict with 'logits'; got {type(outputs).__name__}.")
        self._update(index, outputs["logits"])

    def _unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def _take_index(model: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Leave the index with the model, which is another one in each thread of DataParallel."""
    vars(model)["_tdds_index"] = kwargs.pop("index", None)
    return args, kwargs


def _states(state: TrainerState) -> Any:
    """What callbacks keep in a checkpoint, by name; annotated otherwise."""
    return state.stateful_callbacks
