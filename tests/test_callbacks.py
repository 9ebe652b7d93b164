"""The callbacks in real training, by the real frameworks: what is recorded is what was trained on, whatever happens."""

# ruff: noqa: E402  torch may be absent

import copy
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch, of the extra tdds[torch], is not installed")

from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import tdds
from tdds.torch import CoresetSampler, IndexedDataset, OnlineTDDS

pytestmark = [
    pytest.mark.frameworks,
    # The frameworks' own; a RuntimeWarning, such as ours about an epoch that is not recorded, stays an error.
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]

N_SAMPLES, N_CLASSES, PER_BATCH, N_EPOCHS = 203, 10, 32, 6
N_BATCHES = -(-N_SAMPLES // PER_BATCH)
SHAPE = {"n_samples": N_SAMPLES, "n_classes": N_CLASSES}


class Stop(Exception):
    """Training dies."""


def digits():
    X, y = load_digits(return_X_y=True)
    return torch.tensor(X[:N_SAMPLES], dtype=torch.float32) / 16, torch.tensor(y[:N_SAMPLES])


def network():
    """With dropout, so that predictions in training are not those in evaluation."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, N_CLASSES))


def recorded(path):
    trajectory = tdds.open_trajectory(path)
    out = np.empty((trajectory.n_samples, trajectory.n_epochs, trajectory.n_classes), dtype=np.float16)
    with trajectory.reader() as read:
        read(0, trajectory.n_samples, 0, out)
    return out


class Log:
    """Predictions collected by hand: softmax as float16, of each sample in each epoch of training."""

    def __init__(self):
        self.probs = np.full((N_SAMPLES, N_EPOCHS, N_CLASSES), np.nan, dtype=np.float16)

    def add(self, epoch, index, logits):
        self.probs[index, epoch] = torch.softmax(logits.detach().float(), dim=1).half().numpy()


def nothing_is_left(path):
    """Neither a thread nor half a file."""
    assert not [thread for thread in threading.enumerate() if thread.name == "tdds"]
    assert not list(path.glob(".*.tmp"))


# Lightning


@pytest.fixture
def lightning():
    return pytest.importorskip("lightning.pytorch")


def lightning_module(lightning, log, die_at=None):
    class Classifier(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = network()
            self.die_at = die_at

        def training_step(self, batch, batch_idx):
            if (self.current_epoch, batch_idx) == self.die_at:
                raise Stop
            index, x, y = batch
            torch.manual_seed(self.global_step)  # Lightning's checkpoints lack the state of the random numbers
            logits = self.network(x)
            log.add(self.current_epoch, index, logits)
            return {"loss": cross_entropy(logits, y), "index": index, "logits": logits}

        def validation_step(self, batch, batch_idx):
            index, x, y = batch
            return {"loss": cross_entropy(self.network(x), y), "index": index, "logits": torch.zeros(len(x), N_CLASSES)}

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.3, momentum=0.9)

    return Classifier()


def fit(lightning, log, record, *callbacks, die_at=None, ckpt_path=None, **options):
    """Train with validation after each epoch; returns the Trainer."""
    dataset = IndexedDataset(TensorDataset(*digits()))
    sampler = CoresetSampler(np.arange(N_SAMPLES))  # its order is a matter of the epoch's number
    options = {"max_epochs": N_EPOCHS, "accelerator": "cpu", "enable_checkpointing": bool(callbacks), **options}
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(callbacks=[*callbacks, record], **options, **quiet)
    trainer.fit(
        lightning_module(lightning, log, die_at),
        DataLoader(dataset, batch_size=PER_BATCH, sampler=sampler),
        DataLoader(dataset, batch_size=50),
        ckpt_path=ckpt_path,
    )
    return trainer


@pytest.mark.parametrize(
    "options", [{}, {"accumulate_grad_batches": 3, "val_check_interval": 0.5}, {"precision": "bf16-mixed"}]
)
def test_lightning_records_what_was_trained_on(lightning, tmp_path, options):
    from tdds.callbacks.lightning import RecordTrajectory

    log, record = Log(), RecordTrajectory(tmp_path, **SHAPE, labels=digits()[1])
    fit(lightning, log, record, **options)
    np.testing.assert_array_equal(recorded(tmp_path), log.probs)
    np.testing.assert_array_equal(tdds.open_trajectory(tmp_path).labels, digits()[1])
    assert record.recorder.n_epochs == N_EPOCHS
    nothing_is_left(tmp_path)
    with pytest.raises(FileExistsError, match="already holds 6 epochs"):
        fit(lightning, Log(), RecordTrajectory(tmp_path, **SHAPE))


def test_lightning_scores_online(lightning, tmp_path):
    from tdds.callbacks.lightning import RecordTrajectory

    log, online = Log(), OnlineTDDS(**SHAPE, K=4)
    fit(lightning, log, RecordTrajectory(online))
    np.testing.assert_allclose(online.scores(), tdds.score_trajectory(log.probs, K=4), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("every", [{"every_n_epochs": 1}, {"every_n_train_steps": N_BATCHES}])
def test_lightning_goes_on_from_a_checkpoint_after_an_exception(lightning, tmp_path, every):
    from tdds.callbacks.lightning import RecordTrajectory

    run, checkpoints, through, log = tmp_path / "run", tmp_path / "checkpoints", Log(), Log()
    fit(lightning, through, RecordTrajectory(tmp_path / "through", **SHAPE))
    save = lightning.callbacks.ModelCheckpoint(checkpoints, "{epoch}", save_top_k=-1, **every)
    with pytest.raises(Stop):
        fit(lightning, log, RecordTrajectory(run, **SHAPE), save, die_at=(4, 2))
    nothing_is_left(run)
    np.testing.assert_array_equal(recorded(run), through.probs[:, :4])

    record = RecordTrajectory(run, **SHAPE)
    assert record.state_dict() == {}
    fit(lightning, log, record, save, ckpt_path=checkpoints / "epoch=2.ckpt")
    np.testing.assert_array_equal(recorded(run), through.probs)
    with pytest.raises(FileExistsError, match="already holds 6 epochs"):  # the same callback, but anew
        fit(lightning, log, record)
    np.testing.assert_array_equal(recorded(tmp_path / "through"), through.probs)

    online = OnlineTDDS(**SHAPE, K=4)
    with pytest.raises(ValueError, match=r"checkpoint knows of 3 recorded epochs, <OnlineTDDS .*> of 0: save its"):
        fit(lightning, log, RecordTrajectory(online), save, ckpt_path=checkpoints / "epoch=2.ckpt")


def test_lightning_leaves_out_an_epoch_that_stopped_or_was_resumed_in_its_middle(lightning, tmp_path):
    from tdds.callbacks.lightning import RecordTrajectory

    run, log = tmp_path / "run", Log()
    save = lightning.callbacks.ModelCheckpoint(tmp_path, "middle", every_n_train_steps=2 * N_BATCHES + 3)
    with pytest.warns(RuntimeWarning, match="epoch of training stopped before its last batch .* will be epoch 2 of"):
        fit(lightning, log, RecordTrajectory(run, **SHAPE), save, max_epochs=None, max_steps=2 * N_BATCHES + 3)
    np.testing.assert_array_equal(recorded(run), log.probs[:, :2])
    with pytest.warns(RuntimeWarning, match="epoch of training was resumed in its middle .* will be epoch 2 of"):
        fit(lightning, log, RecordTrajectory(run, **SHAPE), ckpt_path=tmp_path / "middle.ckpt")
    np.testing.assert_array_equal(recorded(run), log.probs[:, [0, 1, 3, 4, 5]])


def test_lightning_says_what_training_step_must_return(lightning, tmp_path):
    from tdds.callbacks.lightning import RecordTrajectory

    class Loses(lightning.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            step = module.training_step
            module.training_step = lambda *args: step(*args)["loss"]

    message = r"^training_step must return a dict of 'loss', 'index' and 'logits'; got \['loss'\]\.$"
    with pytest.raises(TypeError, match=message):
        fit(lightning, Log(), RecordTrajectory(tmp_path, **SHAPE), Loses(), enable_checkpointing=False)
    nothing_is_left(tmp_path)


LIGHTNING_IN_TWO_PROCESSES = """
import os, sys
import lightning.pytorch as lightning
import numpy as np
import test_callbacks as here
from tdds.callbacks.lightning import RecordTrajectory

log = here.Log()
dataset = here.IndexedDataset(here.TensorDataset(*here.digits()))
record = RecordTrajectory("run", **here.SHAPE)
quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
trainer = lightning.Trainer(
    accelerator="cpu", devices=2, strategy="ddp", max_epochs=here.N_EPOCHS, callbacks=[record], **quiet
)
trainer.fit(here.lightning_module(lightning, log), here.DataLoader(dataset, batch_size=16, shuffle=True))
np.save(f"log-{trainer.global_rank}.npy", log.probs)
"""


def run_script(code, folder, *launcher):
    """Run it in a process of its own, in `folder`, with the tests at hand."""
    (folder / "script.py").write_text(code)
    root = os.path.dirname(os.path.dirname(tdds.__file__))
    path = os.pathsep.join([root, os.path.dirname(__file__)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, "script.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def two_parts_are_one(folder):
    """Each process recorded its part; a sample that both were given keeps the value of the later part."""
    first, second = (np.load(folder / f"log-{rank}.npy") for rank in (0, 1))
    assert np.isnan(first).any()
    assert np.isnan(second).any()
    np.testing.assert_array_equal(recorded(folder / "run"), np.where(np.isnan(second), first, second))
    assert len(list((folder / "run").glob("epoch-*.part-?-of-2.h5"))) == 2 * N_EPOCHS


def test_lightning_in_two_processes(lightning, tmp_path):
    run_script(LIGHTNING_IN_TWO_PROCESSES, tmp_path)
    two_parts_are_one(tmp_path)


# Hugging Face


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers")


def bert(transformers):
    """Reads a digit as a text of at most 64 words, of 17 shades of grey."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=18, num_labels=N_CLASSES, max_position_embeddings=64, **sizes)
    return transformers.BertForSequenceClassification(config)


def rows():
    """Texts of different lengths: each ends with the last pixel that is not blank."""
    X, y = digits()
    words = (X * 16).long()
    ends = [int(np.flatnonzero(row)[-1]) + 1 for row in words.numpy()]
    return [
        {"index": i, "input_ids": row[:end], "labels": int(label)}
        for i, (row, end, label) in enumerate(zip(words, ends, y, strict=True))
    ]


def padded(batch):
    words = [row["input_ids"] for row in batch]
    names = set(batch[0]) - {"input_ids"}
    return {
        "input_ids": nn.utils.rnn.pad_sequence(words, batch_first=True, padding_value=17),
        "attention_mask": nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in words], batch_first=True),
        **{name: torch.tensor([row[name] for row in batch]) for name in names},
    }


def trainer_of(transformers, log, record, *callbacks, die_at=None, train_rows=None, **options):
    class Trainer(transformers.Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
            if model.training and self.state.global_step == die_at:
                raise Stop
            index = inputs["index"]
            loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
            if model.training:
                log.add(int(self.state.global_step // (self.state.max_steps / N_EPOCHS)), index, outputs["logits"])
            return (loss, outputs) if return_outputs else loss

    options = {"num_train_epochs": N_EPOCHS, "per_device_train_batch_size": PER_BATCH, "learning_rate": 0.01, **options}
    options = {"save_strategy": "no", "output_dir": f"{record._sink}-out", "remove_unused_columns": False, **options}
    quiet = {"report_to": [], "disable_tqdm": True, "use_cpu": True, "dataloader_pin_memory": False}
    return Trainer(
        bert(transformers),
        transformers.TrainingArguments(**options, **quiet),
        data_collator=padded,
        train_dataset=rows() if train_rows is None else train_rows,
        eval_dataset=rows()[:50],
        callbacks=[record, *callbacks],
    )


@pytest.mark.parametrize(
    "options",
    [
        {"eval_strategy": "steps", "eval_steps": 5},
        {"gradient_accumulation_steps": 3, "label_smoothing_factor": 0.1, "eval_strategy": "epoch"},
        {"bf16": True},
        {"torch_compile": True, "torch_compile_backend": "eager"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_transformers_records_what_was_trained_on(transformers, tmp_path, options):
    from tdds.callbacks.transformers import RecordTrajectory

    log, record = Log(), RecordTrajectory(tmp_path / "run", **SHAPE, labels=digits()[1])
    trainer = trainer_of(transformers, log, record, **options)
    trainer.train()
    np.testing.assert_array_equal(recorded(tmp_path / "run"), log.probs)
    assert not trainer.model._forward_hooks
    assert not trainer.model._forward_pre_hooks
    nothing_is_left(tmp_path / "run")


def test_transformers_scores_online(transformers, tmp_path):
    from tdds.callbacks.transformers import RecordTrajectory

    log, online = Log(), OnlineTDDS(**SHAPE, K=4)
    trainer_of(transformers, log, RecordTrajectory(online), output_dir=tmp_path / "out").train()
    np.testing.assert_allclose(online.scores(), tdds.score_trajectory(log.probs, K=4), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("every", [{"save_strategy": "epoch"}, {"save_strategy": "steps", "save_steps": N_BATCHES}])
def test_transformers_goes_on_from_a_checkpoint_after_an_exception(transformers, tmp_path, every):
    from tdds.callbacks.transformers import RecordTrajectory

    run, through, log = tmp_path / "run", Log(), Log()
    trainer_of(transformers, through, RecordTrajectory(tmp_path / "through", **SHAPE)).train()
    record = RecordTrajectory(run, **SHAPE)
    trainer = trainer_of(transformers, log, record, die_at=4 * N_BATCHES + 2, **every)
    with pytest.raises(Stop):
        trainer.train()
    np.testing.assert_array_equal(recorded(run), through.probs[:, :4])
    with pytest.raises(FileExistsError, match="already holds 4 epochs"):  # the same trainer again
        trainer.train()
    nothing_is_left(run)

    checkpoint = tmp_path / "run-out" / f"checkpoint-{3 * N_BATCHES}"
    resumed = trainer_of(transformers, log, RecordTrajectory(run, **SHAPE), **every)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    np.testing.assert_array_equal(recorded(run), through.probs)


def test_transformers_leaves_out_an_epoch_that_stopped_or_was_resumed_in_its_middle(transformers, tmp_path):
    from tdds.callbacks.transformers import RecordTrajectory

    run, through, log = tmp_path / "run", Log(), Log()
    trainer_of(transformers, through, RecordTrajectory(tmp_path / "through", **SHAPE)).train()

    class StopAt(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = control.should_save = state.global_step in steps

    def train(**options):
        trainer_of(transformers, log, RecordTrajectory(run, **SHAPE), StopAt()).train(**options)

    steps = [2 * N_BATCHES + 3]
    with pytest.warns(RuntimeWarning, match="epoch of training stopped before its last batch .* will be epoch 2 of"):
        train()
    np.testing.assert_array_equal(recorded(run), through.probs[:, :2])
    steps = [4 * N_BATCHES]
    with pytest.warns(RuntimeWarning, match="epoch of training was resumed in its middle .* will be epoch 2 of"):
        train(resume_from_checkpoint=str(tmp_path / "run-out" / f"checkpoint-{2 * N_BATCHES + 3}"))
    np.testing.assert_array_equal(recorded(run), through.probs[:, [0, 1, 3]])
    steps = []
    train(resume_from_checkpoint=str(tmp_path / "run-out" / f"checkpoint-{4 * N_BATCHES}"))
    np.testing.assert_array_equal(recorded(run), through.probs[:, [0, 1, 3, 4, 5]])


def test_transformers_goes_on_from_the_middle_of_its_first_epoch(transformers, tmp_path):
    from tdds.callbacks.transformers import RecordTrajectory

    run, log, every = tmp_path / "run", Log(), {"save_strategy": "steps", "save_steps": 3}
    with pytest.raises(Stop):
        trainer_of(transformers, log, RecordTrajectory(run, **SHAPE), die_at=N_BATCHES + 1, **every).train()
    np.testing.assert_array_equal(recorded(run), log.probs[:, :1])
    resumed, log = RecordTrajectory(run, **SHAPE), Log()
    with pytest.warns(RuntimeWarning, match=r"epoch of training was resumed in its middle .* will be epoch 0 of"):
        trainer_of(transformers, log, resumed, **every).train(resume_from_checkpoint=f"{run}-out/checkpoint-3")
    np.testing.assert_array_equal(recorded(run), log.probs[:, 1:])


def test_transformers_says_what_it_needs(transformers, tmp_path):
    from tdds.callbacks.transformers import RecordTrajectory

    record = RecordTrajectory(tmp_path / "run", **SHAPE)
    with pytest.raises(ValueError, match=r"remove the column 'index'; pass TrainingArguments\(remove_unused_columns=F"):
        trainer_of(transformers, Log(), record, remove_unused_columns=True).train()
    nameless = [{name: value for name, value in row.items() if name != "index"} for row in rows()]
    trainer = trainer_of(transformers, Log(), record, train_rows=nameless)
    trainer.compute_loss = super(type(trainer), trainer).compute_loss
    with pytest.raises(ValueError, match="A batch of training has no 'index'; add the column"):
        trainer.train()
    with pytest.raises(TypeError, match=r"n_samples, n_classes: options of a recorder .* but <OnlineTDDS .*> is one\."):
        RecordTrajectory(OnlineTDDS(**SHAPE, K=3), **SHAPE)
    trainer = trainer_of(transformers, Log(), record)
    forward = trainer.model.forward
    trainer.model.forward = lambda **inputs: forward(**inputs, return_dict=False)
    with pytest.raises(TypeError, match="The model must return a dict with 'logits'; got tuple"):
        trainer.train()


def test_transformers_model_can_be_copied_while_it_trains(transformers, tmp_path):
    from tdds.callbacks.transformers import RecordTrajectory

    class Copies(transformers.TrainerCallback):
        def on_epoch_end(self, args, state, control, model=None, **kwargs):
            copies.append(copy.deepcopy(model).eval())

    copies, log = [], Log()
    trainer = trainer_of(transformers, log, RecordTrajectory(tmp_path / "run", **SHAPE), Copies())
    trainer.train()
    np.testing.assert_array_equal(recorded(tmp_path / "run"), log.probs)
    assert len(copies) == N_EPOCHS
    batch = {name: values for name, values in padded(rows()[:5]).items() if name != "index"}
    assert torch.equal(copies[-1](**batch).logits, trainer.model.eval()(**batch).logits)


TRANSFORMERS_IN_TWO_PROCESSES = """
import numpy as np
import test_callbacks as here
import transformers
from tdds.callbacks.transformers import RecordTrajectory

log = here.Log()
record = RecordTrajectory("run", **here.SHAPE)
trainer = here.trainer_of(
    transformers, log, record, per_device_train_batch_size=16, ddp_backend="gloo", eval_strategy="epoch"
)
trainer.train()
np.save(f"log-{trainer.args.process_index}.npy", log.probs)
"""


def test_transformers_in_two_processes(transformers, tmp_path):
    run_script(TRANSFORMERS_IN_TWO_PROCESSES, tmp_path, "-m", "torch.distributed.run", "--nproc-per-node=2")
    two_parts_are_one(tmp_path)


# Keras


@pytest.fixture
def keras(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "torch"))
    return pytest.importorskip("keras")


def keras_fit(keras, log, record, die_at=None, augment=False, output="softmax", **options):
    """Logs the prediction in evaluation mode, layer by layer rather than by predict()."""
    X, y = (part.numpy() for part in digits())
    keras.utils.set_random_seed(0)
    layers = keras.layers.Dense(32, activation="relu"), keras.layers.Dropout(0.3), keras.layers.Dense(10, output)
    model = keras.Sequential([keras.layers.Input((64,)), *layers])
    model.compile(keras.optimizers.SGD(0.3), keras.losses.SparseCategoricalCrossentropy(from_logits=output is None))

    class Collect(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            (w1, b1), (w2, b2) = layers[0].get_weights(), layers[2].get_weights()
            logits = np.maximum(X @ w1 + b1, 0) @ w2 + b2
            exp = np.exp(logits - logits.max(axis=1, keepdims=True))
            log.probs[:, epoch] = exp / exp.sum(axis=1, keepdims=True) if output else logits
            if epoch == die_at:
                raise Stop

    callbacks = [Collect(), record, *options.pop("callbacks", [])]
    model.fit(X, y, epochs=N_EPOCHS, batch_size=PER_BATCH, verbose=0, callbacks=callbacks, **options)


@pytest.mark.parametrize(("output", "kind"), [("softmax", "probs"), (None, "logits")])
def test_keras_records_the_prediction_after_each_epoch(keras, tmp_path, output, kind):
    from tdds.callbacks.keras import RecordTrajectory

    X, y = digits()
    log = Log()
    record = RecordTrajectory(tmp_path, X.numpy(), **SHAPE, batch_size=64, kind=kind, labels=y)
    keras_fit(keras, log, record, output=output, validation_data=(X[:50].numpy(), y[:50].numpy()))
    np.testing.assert_allclose(recorded(tmp_path), log.probs, rtol=2e-3, atol=1e-5)
    np.testing.assert_array_equal(tdds.open_trajectory(tmp_path).labels, y)
    assert (record.writer.n_epochs, tdds.open_trajectory(tmp_path).kind) == (N_EPOCHS, kind)
    with pytest.raises(FileExistsError, match="already holds 6 epochs"):
        keras_fit(keras, log, RecordTrajectory(tmp_path, X.numpy(), **SHAPE, kind=kind, labels=y))


def test_keras_goes_on_after_an_exception(keras, tmp_path):
    from tdds.callbacks.keras import RecordTrajectory

    X = digits()[0].numpy()
    run, log = tmp_path / "run", Log()
    with pytest.raises(Stop):
        keras_fit(keras, log, RecordTrajectory(run, X, **SHAPE), die_at=4)
    nothing_is_left(run)
    before = recorded(run)
    assert before.shape[1] == 4
    keras_fit(keras, log, RecordTrajectory(run, X, **SHAPE), initial_epoch=3)
    np.testing.assert_array_equal(recorded(run)[:, :3], before[:, :3])
    np.testing.assert_allclose(recorded(run)[:, 3:], log.probs[:, 3:], rtol=2e-3, atol=1e-5)
    with pytest.raises(ValueError, match=r"keep_epochs=2, but .* holds only 0 whole epochs"):
        keras_fit(keras, log, RecordTrajectory(tmp_path / "other", X, **SHAPE), initial_epoch=2)


def test_keras_refuses_logits_where_probabilities_were_announced(keras, tmp_path):
    from tdds.callbacks.keras import RecordTrajectory

    X = digits()[0].numpy()
    with pytest.raises(tdds.TrajectoryError, match="Sample 0 at epoch 0"):
        keras_fit(keras, Log(), RecordTrajectory(tmp_path, X, **SHAPE), output=None)
    nothing_is_left(tmp_path)
