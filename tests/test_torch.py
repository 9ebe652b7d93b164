"""The PyTorch adapter, in real training loops on the CPU: recording, online scores, coresets, several processes."""

# ruff: noqa: E402  torch may be absent

import copy
import io
import itertools
import multiprocessing
import os
import re
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch, of the extra tdds[torch], is not installed")

import torch.distributed as dist
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, TensorDataset

import tdds
from tdds.samplers import importance_weights, top
from tdds.scores import TDDS
from tdds.torch import (
    CoresetDataset,
    CoresetSampler,
    IndexedDataset,
    OnlineTDDS,
    TrajectoryRecorder,
    evaluate,
    weighted_loss,
)

N_SAMPLES, N_CLASSES = 300, 10


def digits(n_samples=N_SAMPLES):
    X, y = load_digits(return_X_y=True)
    images = torch.tensor(X[:n_samples], dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    return TensorDataset(images, torch.tensor(y[:n_samples]))


def small_cnn(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, N_CLASSES))


def loader_of(dataset, seed=0, batch_size=64, **options):
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(dataset, batch_size=batch_size, shuffle=True, generator=generator, **options)


def train(model, loader, sinks=(), n_epochs=6, accumulate=1, lr=0.3):
    """Three lines of it are ours. Returns the softmax outputs, collected by hand: (n_samples, n_epochs, n_classes)."""
    by_hand = np.full((N_SAMPLES, n_epochs, N_CLASSES), np.nan, dtype=np.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for epoch in range(n_epochs):
        for step, (index, x, y) in enumerate(loader):
            logits = model(x)
            for sink in sinks:
                sink.update(index, logits)
            cross_entropy(logits.float(), y).backward()
            if (step + 1) % accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
            by_hand[index, epoch] = torch.softmax(logits.detach().float(), dim=1).numpy()
        for sink in sinks:
            sink.end_epoch()
    return by_hand


def recorded(path, missing="error"):
    trajectory = tdds.open_trajectory(path, missing=missing)
    classes = () if trajectory.n_classes is None else (trajectory.n_classes,)
    out = np.empty((trajectory.n_samples, trajectory.n_epochs, *classes))
    with trajectory.reader() as read:
        read(0, trajectory.n_samples, 0, out)
    return out


def given(n_samples=20, n_epochs=7, n_classes=4, seed=0):
    """Random logits, (n_epochs, n_samples, n_classes), and labels."""
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(n_epochs, n_samples, n_classes)) * 2), rng.integers(n_classes, size=n_samples)


def stored(logits):
    """What a recorder makes of (n_epochs, n_samples, n_classes): samples first, float16 probabilities."""
    return torch.softmax(logits.float(), -1).half().transpose(0, 1)


def feed(sink, logits, batch=8):
    for epoch in logits:
        for index in torch.arange(len(epoch)).flip(0).split(batch):
            sink.update(index, epoch[index])
        sink.end_epoch()


# Recording


def test_three_lines_record_what_the_model_predicted_and_online_scores_are_the_offline_ones(tmp_path):
    dataset = digits()
    online = OnlineTDDS(N_SAMPLES, N_CLASSES, K=4)
    with TrajectoryRecorder(tmp_path, N_SAMPLES, N_CLASSES, labels=dataset.tensors[1]) as recorder:
        by_hand = train(small_cnn(), loader_of(IndexedDataset(dataset)), [recorder, online])
        assert recorder.n_epochs == 6
    np.testing.assert_array_equal(recorded(tmp_path), by_hand.astype(np.float16))
    offline = tdds.score_trajectory(tmp_path, K=4)
    np.testing.assert_allclose(online.scores(), offline, rtol=1e-9, atol=1e-14)
    np.testing.assert_array_equal(tdds.open_trajectory(tmp_path).labels, dataset.tensors[1])

    # What rounding to float16 does to the scores.
    exact = tdds.score_trajectory(by_hand, K=4)
    shared = np.intersect1d(top(offline, 100), top(exact, 100))
    change = np.max(np.abs(offline - exact)) / exact.max()
    print(f"\nfloat16: scores change by {change:.1e} of the largest, {len(shared)} of 100 kept are the same")
    assert len(shared) >= 98


def test_recording_changes_nothing_in_training(tmp_path):
    ours, without = small_cnn(), small_cnn()
    with TrajectoryRecorder(tmp_path, N_SAMPLES, N_CLASSES) as recorder:
        train(ours, loader_of(IndexedDataset(digits())), [recorder], n_epochs=2)
    train(without, loader_of(IndexedDataset(digits())), n_epochs=2)
    for a, b in zip(ours.parameters(), without.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(tmp_path, dtype):
    model, online = small_cnn(), OnlineTDDS(N_SAMPLES, N_CLASSES, K=3)
    with torch.autocast("cpu", dtype=dtype), TrajectoryRecorder(tmp_path, N_SAMPLES, N_CLASSES) as recorder:
        by_hand = train(model, loader_of(IndexedDataset(digits())), [recorder, online], n_epochs=4)
    np.testing.assert_array_equal(recorded(tmp_path), by_hand.astype(np.float16))
    np.testing.assert_allclose(online.scores(), tdds.score_trajectory(tmp_path, K=3), rtol=1e-9, atol=1e-14)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of the compiler's own
def test_compiled_model_and_gradient_accumulation(tmp_path):
    model = torch.compile(small_cnn(), backend="aot_eager")
    with TrajectoryRecorder(tmp_path, N_SAMPLES, N_CLASSES) as recorder:
        by_hand = train(model, loader_of(IndexedDataset(digits())), [recorder], n_epochs=3, accumulate=2)
    np.testing.assert_array_equal(recorded(tmp_path), by_hand.astype(np.float16))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_update_inside_a_compiled_function(tmp_path):
    model = small_cnn()
    with TrajectoryRecorder(tmp_path, N_SAMPLES, N_CLASSES) as recorder:

        @torch.compile(backend="eager")
        def step(index, x):
            logits = model(x)
            recorder.update(index, logits)
            return logits

        index = torch.arange(N_SAMPLES)
        logits = step(index, digits().tensors[0])
        recorder.end_epoch()
    np.testing.assert_array_equal(recorded(tmp_path)[:, 0], torch.softmax(logits, 1).detach().half())


@pytest.mark.parametrize("make_index", [list, np.array, torch.tensor, lambda i: torch.tensor(i, dtype=torch.int32)])
def test_index_of_any_type_and_a_batch_of_one(tmp_path, make_index):
    logits, _ = given(n_samples=3, n_epochs=4)
    online = OnlineTDDS(3, 4, K=3)
    with TrajectoryRecorder(tmp_path, 3, 4, dtype="float32") as recorder:
        for sink, epoch in itertools.product((recorder, online), logits):
            sink.update(make_index([2]), epoch[[2]])
            sink.update(make_index([]), epoch[:0])
            sink.update(make_index([0, 1])[0], epoch[0])  # no axis at all
            sink.update(make_index([1]), epoch[[1]].requires_grad_())
            sink.end_epoch()
    expected = torch.softmax(logits.float(), -1).transpose(0, 1)
    np.testing.assert_array_equal(recorded(tmp_path), expected)
    np.testing.assert_allclose(online.scores(), tdds.score_trajectory(expected.half(), K=3), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", torch.float64])
@pytest.mark.parametrize("kind", ["probs", "logits", "log_probs", "losses"])
def test_kinds_and_dtypes(tmp_path, kind, dtype):
    logits, _ = given(n_epochs=2)
    values = logits[..., 0] if kind == "losses" else logits
    with TrajectoryRecorder(tmp_path, 20, None if kind == "losses" else 4, kind=kind, dtype=dtype) as recorder:
        feed(recorder, values)
    wide = values.double() if dtype == torch.float64 else values.float()
    expected = {"probs": torch.softmax(wide, -1), "log_probs": torch.log_softmax(wide, -1)}.get(kind, wide)
    expected = expected.to(dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype))
    np.testing.assert_array_equal(recorded(tmp_path), expected.transpose(0, 1).double())


def test_log8_is_coded_on_the_device(tmp_path):
    logits, _ = given(n_epochs=3)
    with TrajectoryRecorder(tmp_path, 20, 4, dtype="log8") as recorder:
        feed(recorder, logits)
    codes = tdds.store.probs_to_log8(torch.softmax(logits.double(), -1).transpose(0, 1).numpy())
    np.testing.assert_allclose(recorded(tmp_path), tdds.store.widen(codes), rtol=1e-6)
    with TrajectoryRecorder(tmp_path / "nan", 2, 3, dtype="log8") as recorder:
        recorder.update([0, 1], torch.tensor([[0.0, 1, 2], [np.nan, 0, 0]]))
        with pytest.raises(tdds.TrajectoryError, match="Sample 1 at epoch 0 has codes of sum"):
            recorder.end_epoch()
        recorder.abandon_epoch()


def test_logits_that_overflow_the_dtype_are_an_error_not_minus_infinity(tmp_path):
    with TrajectoryRecorder(tmp_path, 2, 3, kind="logits") as recorder:
        recorder.update([0, 1], torch.tensor([[1.0, 2, 3], [-1e5, 0, 0]]))
        with pytest.raises(tdds.TrajectoryError, match=r"Sample 1 at epoch 0 has the value -100000\.0, too large"):
            recorder.end_epoch()
        recorder.abandon_epoch()


def test_the_batch_may_be_overwritten_after_update(tmp_path):
    index, logits = torch.tensor([0, 1]), torch.zeros(2, 3)
    with TrajectoryRecorder(tmp_path, 2, 3, kind="logits") as recorder:
        recorder.update(index, logits)
        index.fill_(77)
        logits.fill_(77)
        recorder.end_epoch()
    assert not recorded(tmp_path).any()


def test_splits_and_resume_from_a_checkpoint(tmp_path):
    logits, _ = given()
    with TrajectoryRecorder(tmp_path, 20, 4, split="train") as recorder:
        feed(recorder, logits[:5])
        with pytest.raises(FileExistsError):
            TrajectoryRecorder(tmp_path, 20, 4, split="train")
    with TrajectoryRecorder(tmp_path, 20, 4, split="train", resume=True, keep_epochs=3) as recorder:
        assert recorder.n_epochs == 3
        assert repr(recorder) == f"<TrajectoryRecorder {tmp_path / 'train'}: 3 epochs>"
        feed(recorder, logits[3:])
    np.testing.assert_array_equal(recorded(tmp_path / "train"), stored(logits))


@pytest.mark.parametrize(
    ("index", "logits", "error", "message"),
    [
        ([0, 1], torch.zeros(2, 5), ValueError, r"index has shape (2,) and the predictions (2, 5); expected (n_rows,)"),
        ([0], torch.zeros(4), ValueError, r"index has shape (1,) and the predictions (4,); expected (n_rows,) and"),
        ([0, 1, 2], torch.zeros(2, 4), ValueError, r"index has shape (3,) and the predictions (2, 4)"),
        ([0, 20], torch.zeros(2, 4), ValueError, "index names sample 20 (row 1), expected 0 to 19."),
        ([-1, 0], torch.zeros(2, 4), ValueError, "index names sample -1 (row 0), expected 0 to 19."),
        (
            [0.0, 1.0],
            torch.zeros(2, 4),
            TypeError,
            "must hold integers, the sample of each row; got torch.float",
        ),
        (
            [True, False],
            torch.zeros(2, 4),
            TypeError,
            "must hold integers, the sample of each row; got torch.bool",
        ),
        ([0, 1], np.zeros((2, 4)), TypeError, "Predictions must be a floating point tensor, got ndarray."),
        (
            [0, 1],
            torch.zeros(2, 4).long(),
            TypeError,
            "must be a floating point tensor, got a tensor",
        ),
    ],
)
def test_a_wrong_batch_is_refused_at_once_and_harms_nothing(tmp_path, index, logits, error, message):
    good, _ = given(n_epochs=3)
    online = OnlineTDDS(20, 4, K=3)
    with TrajectoryRecorder(tmp_path, 20, 4, on_error="warn") as recorder:
        for sink in (recorder, online):
            with pytest.raises(error, match=re.escape(message)):
                sink.update(index, logits)
            feed(sink, good)
    np.testing.assert_allclose(online.scores(), tdds.score_trajectory(tmp_path, K=3), rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "on_error"),
        ({"dtype": "int8"}, "dtype"),
        ({"part": 0}, "part=0 and n_parts=None; pass both, or neither."),
        ({"part": 2, "n_parts": 2}, "part=2 of n_parts=2"),
    ],
)
def test_a_wrong_argument_leaves_no_thread(tmp_path, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        TrajectoryRecorder(tmp_path, 20, 4, **options)
    assert not [thread for thread in threading.enumerate() if thread.name == "tdds"]


def test_probabilities_in_the_place_of_logits_are_refused(tmp_path):
    probs = torch.softmax(given()[0], dim=-1)
    for sink in (TrajectoryRecorder(tmp_path / "run", 20, 4), OnlineTDDS(20, 4, K=3)):
        with pytest.raises(ValueError, match="these are probabilities, and softmax would be taken of them"):
            sink.update(np.arange(20), probs[0])
        feed(sink, probs.log())
    TrajectoryRecorder(tmp_path / "logits", 20, 4, kind="logits").update(np.arange(20), probs[0])


def test_the_thread_ends_with_its_recorder(tmp_path):
    recorder = TrajectoryRecorder(tmp_path, 20, 4)
    recorder.update([0], torch.zeros(1, 4))
    thread = recorder._background._thread
    assert thread.is_alive()
    del recorder
    thread.join(5)
    assert not thread.is_alive()


# Errors


def test_an_error_in_the_background_reaches_the_loop_with_its_cause(tmp_path):
    logits, _ = given()
    with TrajectoryRecorder(tmp_path, 20, 4) as recorder:
        feed(recorder, logits[:2])
        recorder.update([3, 4], torch.full((2, 4), np.nan))
        message = r"^Recording epoch 2 into .* failed: Sample 3 at epoch 2"
        with pytest.raises(tdds.TrajectoryError, match=message) as caught:  # noqa: PT012
            for _ in range(100):
                recorder.update([5], logits[0, [5]])
                time.sleep(0.05)
        assert isinstance(caught.value.__cause__, tdds.TrajectoryError)
        assert "Call abandon_epoch()" in str(caught.value)
        with pytest.raises(tdds.TrajectoryError, match="Recording epoch 2"):  # until told otherwise
            recorder.end_epoch()
        recorder.abandon_epoch()
        feed(recorder, logits[2:])
        assert recorder.n_epochs == len(logits)
    np.testing.assert_array_equal(recorded(tmp_path), stored(logits))


def fail_to_write(recorder, monkeypatch):
    def write(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorder._writer, "write", write)


def test_on_error_warn_goes_on_with_the_next_epoch(tmp_path, monkeypatch):
    logits, _ = given()
    with TrajectoryRecorder(tmp_path, 20, 4, on_error="warn") as recorder:
        feed(recorder, logits[:3])
        with monkeypatch.context() as patch:
            fail_to_write(recorder, patch)
            with pytest.warns(RuntimeWarning, match="epoch 3 .* No space left on device") as caught:
                feed(recorder, logits[3:4], batch=1)
            assert len(caught) == 1
            assert caught[0].filename == __file__
        feed(recorder, logits[4:])
        assert recorder.n_epochs == len(logits) - 1
    np.testing.assert_array_equal(recorded(tmp_path), stored(torch.cat([logits[:3], logits[4:]])))


def test_on_error_warn_names_every_epoch_that_is_lost(tmp_path, monkeypatch):
    logits, _ = given()
    with TrajectoryRecorder(tmp_path, 20, 4, on_error="warn") as recorder:
        fail_to_write(recorder, monkeypatch)
        with pytest.warns(RuntimeWarning, match="Recording epoch 0 .* No space left on device") as caught:
            feed(recorder, logits[:2])
        assert len(caught) == 2


def test_on_error_warn_of_several_parts_records_no_more(tmp_path, monkeypatch):
    logits, _ = given()
    with (
        TrajectoryRecorder(tmp_path, 20, 4, part=0, n_parts=2, on_error="warn") as one,
        TrajectoryRecorder(tmp_path, 20, 4, part=1, n_parts=2, on_error="warn") as two,
    ):
        feed(one, logits)
        feed(two, logits[:2])
        with monkeypatch.context() as patch:
            fail_to_write(two, patch)
            with pytest.warns(RuntimeWarning, match="this part records no more") as caught:
                feed(two, logits[2:4])
        feed(two, logits[4:])
        assert len(caught) == 1
        assert (one.n_epochs, two.n_epochs) == (7, 2)
    assert tdds.open_trajectory(tmp_path).n_epochs == 2


def test_on_error_warn_raises_at_the_end_neither(tmp_path):
    logits, _ = given()
    recorder = TrajectoryRecorder(tmp_path / "stopped", 20, 4, on_error="warn")
    feed(recorder, logits[:3])
    recorder.update([0], logits[3, :1])
    with pytest.warns(RuntimeWarning, match="1 rows of epoch 3 were written"):
        recorder.close()
    recorder = TrajectoryRecorder(tmp_path / "spoilt", 20, 4, part=0, n_parts=2, on_error="warn")
    recorder.update([0], logits[0, :1])
    recorder.update([1], torch.full((1, 4), torch.nan))
    with pytest.warns(RuntimeWarning, match="this part records no more") as caught:
        recorder.close()
    assert len(caught) == 1


def test_several_processes_that_are_not_initialised_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match=r"^WORLD_SIZE=2, but torch\.distributed is not initialised: call init_"):
        TrajectoryRecorder(tmp_path, 20, 4)
    TrajectoryRecorder(tmp_path, 20, 4, part=1, n_parts=2).close()
    with pytest.raises(RuntimeError, match=r"or pass rank= and num_replicas=\.$"):
        CoresetSampler([1, 2])
    assert len(CoresetSampler([1, 2], rank=1, num_replicas=2)) == 1


def test_closing_drops_half_an_epoch_loudly_and_an_exception_silently(tmp_path):
    recorder = TrajectoryRecorder(tmp_path, 20, 4)
    recorder.update([0], torch.zeros(1, 4))
    with pytest.raises(tdds.TrajectoryError, match="1 rows of epoch 0 were written"):
        recorder.close()
    with pytest.raises(ValueError, match="closed"):
        recorder.update([0], torch.zeros(1, 4))
    with pytest.raises(KeyError), TrajectoryRecorder(tmp_path, 20, 4) as recorder:  # noqa: PT012
        recorder.update([0], torch.zeros(1, 4))
        raise KeyError
    recorder = TrajectoryRecorder(tmp_path, 20, 4)
    recorder.update([0], torch.full((1, 4), np.nan))
    with pytest.raises(tdds.TrajectoryError, match="Sample 0 at epoch 0"):
        recorder.close()


def test_an_epoch_without_rows_is_an_error(tmp_path):
    with TrajectoryRecorder(tmp_path, 20, 4) as recorder:
        with pytest.raises(tdds.TrajectoryError, match="has no rows"):
            recorder.end_epoch()
        recorder.abandon_epoch()


def test_the_loop_waits_for_a_slow_disk(tmp_path, monkeypatch):
    with TrajectoryRecorder(tmp_path, 20, 4) as recorder:
        gate, write = threading.Event(), recorder._writer.write
        monkeypatch.setattr(recorder._writer, "write", lambda *args: gate.wait() and write(*args))
        logits = torch.zeros(1, 4)

        def run():
            for i in range(20):
                recorder.update([i], logits)

        loop = threading.Thread(target=run)
        loop.start()
        loop.join(0.3)
        assert loop.is_alive()
        assert recorder._background._tasks.qsize() == 16
        gate.set()
        loop.join()
        recorder.end_epoch()
    assert recorded(tmp_path).shape == (20, 1, 4)


# Evaluation mode


def test_evaluate_records_in_evaluation_mode_and_restores_every_mode(tmp_path):
    torch.manual_seed(0)
    layers = nn.Linear(64, 32), nn.Dropout(0.5), nn.BatchNorm1d(32), nn.Linear(32, N_CLASSES)
    model = nn.Sequential(nn.Flatten(), *layers)
    model[3].eval()  # frozen on purpose
    modes = [module.training for module in model.modules()]
    dataset = digits()
    online = OnlineTDDS(N_SAMPLES, N_CLASSES, K=3)
    with TrajectoryRecorder(tmp_path, N_SAMPLES, N_CLASSES) as recorder:
        for sink in (recorder, online):
            evaluate(model, DataLoader(IndexedDataset(dataset), batch_size=77), sink)
    assert [module.training for module in model.modules()] == modes
    assert online.n_epochs == 1
    reference = copy.deepcopy(model).eval()
    with torch.no_grad():
        expected = torch.cat([torch.softmax(reference(x), 1) for x in dataset.tensors[0].split(77)])
    np.testing.assert_array_equal(recorded(tmp_path)[:, 0], expected.half())
    with pytest.raises(ZeroDivisionError):
        evaluate(model, (1 / 0 for _ in range(1)), online)
    assert [module.training for module in model.modules()] == modes


# Online scores


@pytest.mark.parametrize(
    "options",
    [
        {"K": 3},
        {"K": 5, "T": 6, "beta": 0.5},
        {"K": 7, "beta": 1},
        {"K": 3, "beta": 0},
        {"K": 4, "formulation": "reference"},
        {"K": 4, "formulation": "reference", "magnitude": False},
        {"K": 4, "formulation": "datacull"},
        {"K": 4, "loss": "ce"},
        {"K": 4, "loss": "ce", "magnitude": False, "formulation": "reference"},
        {"K": 4, "loss": "el2n"},
        {"K": 4, "dtype": "bfloat16"},
        {"K": 4, "dtype": "float32", "formulation": "reference"},
        {"K": 4, "dtype": "float64", "loss": "el2n"},
    ],
    ids=str,
)
def test_online_equals_offline(tmp_path, options):
    options = dict(options)
    dtype = options.pop("dtype", "float16")
    logits, labels = given(n_epochs=8)
    online = OnlineTDDS(20, 4, TDDS(**options), labels=labels, dtype=dtype)
    with TrajectoryRecorder(tmp_path, 20, 4, dtype=dtype) as recorder:
        feed(recorder, logits)
    feed(online, logits)
    assert online.n_epochs == options.get("T", 8)
    offline = tdds.score_trajectory(tmp_path, labels, **options)
    np.testing.assert_allclose(online.scores(), offline, rtol=1e-9, atol=1e-14)


def test_online_scores_of_losses():
    logits, _ = given()
    losses = logits[..., 0].float()
    online = OnlineTDDS(20, None, K=4, dtype="float32")
    feed(online, losses)
    np.testing.assert_allclose(online.scores(), tdds.score_trajectory(losses.T.numpy(), K=4), rtol=1e-9)


def test_online_of_certain_and_constant_predictions():
    certain = torch.eye(4)[torch.arange(140).reshape(7, 20) * 7 % 4] * 1e4
    certain[:, 0] = certain[0, 0]
    online = OnlineTDDS(20, 4, K=3)
    feed(online, certain)
    offline = tdds.score_trajectory(torch.softmax(certain, -1).transpose(0, 1).numpy(), K=3)
    np.testing.assert_allclose(online.scores(), offline, rtol=1e-9)
    assert online.scores()[0] == 0


@pytest.mark.parametrize("loss", ["kl", "ce", "el2n"])
def test_missing_and_duplicate_samples_are_as_in_the_store(tmp_path, loss):
    _, labels = given()
    rng = np.random.default_rng(0)
    online = OnlineTDDS(20, 4, K=4, loss=loss, labels=labels, missing="carry", duplicates="last")
    with TrajectoryRecorder(tmp_path, 20, 4) as recorder:
        for epoch in range(8):
            index = rng.integers(20, size=60 if epoch else 30)  # some have their first epoch late, or twice in it
            values = torch.tensor(rng.normal(size=(len(index), 4)))
            for rows in np.split(np.arange(len(index)), [7, 30]):
                recorder.update(index[rows], values[rows])
                online.update(index[rows], values[rows])
            recorder.end_epoch()
            online.end_epoch()
    offline = tdds.score_trajectory(tmp_path, labels, K=4, loss=loss, missing="carry")
    np.testing.assert_allclose(online.scores(), offline, rtol=1e-9, atol=1e-14)


def test_a_missing_sample_is_an_error_that_can_be_mended():
    logits, _ = given()
    online, whole = OnlineTDDS(20, 4, K=3), OnlineTDDS(20, 4, K=3)
    feed(whole, logits)
    for t, epoch in enumerate(logits):
        online.update(np.arange(17), epoch[:17])
        with pytest.raises(tdds.TrajectoryError, match=f"Epoch {t} does not hold sample 17 and 2 others; pass missing"):
            online.end_epoch()
        online.update([17, 18, 19], epoch[17:])
        online.end_epoch()
    np.testing.assert_array_equal(online.scores(), whole.scores())
    carrying = OnlineTDDS(20, 4, K=3, missing="carry")
    for _ in range(3):
        carrying.update([0], logits[0, :1])
        carrying.end_epoch()
    with pytest.raises(tdds.TrajectoryError, match="No epoch so far holds sample 1"):
        carrying.scores()


def test_online_scores_that_were_given_change_no_more():
    logits, _ = given()
    online = OnlineTDDS(20, 4, K=3)
    feed(online, logits[:4])
    scores = online.scores()
    held = scores.copy()
    feed(online, logits[4:])
    np.testing.assert_array_equal(scores, held)


def test_what_spoils_online_scores_is_named():
    logits, _ = given()
    online = OnlineTDDS(20, 4, K=3)
    feed(online, logits[:2])
    online.update([4, 5, 5], logits[0, :3])
    with pytest.raises(tdds.TrajectoryError, match=r"Epoch 2 was given sample 5 twice; .*duplicates='last'"):
        online.end_epoch()
    online = OnlineTDDS(20, 4, K=3)
    bad = logits[0].clone()
    bad[13, 2] = np.inf
    with pytest.raises(tdds.TrajectoryError, match="Prediction of sample 13 at epoch 0 is nan or infinite"):
        feed(online, bad[None])
    online = OnlineTDDS(20, 4, K=3)
    online._take(torch.tensor([-3]), torch.zeros(1, 4).half())  # as from a device, where nobody looks at once
    with pytest.raises(tdds.TrajectoryError, match="Epoch 0 was given a sample outside 0 to 19"):
        online.end_epoch()


def test_online_arguments():
    with pytest.raises(ValueError, match="needs labels"):
        OnlineTDDS(20, 4, K=3, loss="ce")
    with pytest.raises(ValueError, match="needs probabilities"):
        OnlineTDDS(20, None, K=3, loss="el2n")
    with pytest.raises(ValueError, match="not both; got K"):
        OnlineTDDS(20, 4, TDDS(), K=3)
    with pytest.raises(TypeError, match="bta"):
        OnlineTDDS(20, 4, bta=3)
    with pytest.raises(ValueError, match="K=2"):
        OnlineTDDS(20, 4, K=2)
    with pytest.raises(ValueError, match="0 epochs so far; the first score comes with epoch K=3"):
        OnlineTDDS(20, 4, K=3).scores()
    assert repr(OnlineTDDS(20, 4, K=3)).startswith("<OnlineTDDS 20 samples, 0 epochs, TDDS(")


@pytest.mark.parametrize("duplicates", ["error", "last"])
@pytest.mark.parametrize("n_batches", [0, 1, 2])
def test_online_goes_on_from_a_checkpoint_in_the_middle_of_an_epoch_too(duplicates, n_batches):
    logits, _ = given(n_epochs=9)
    through = OnlineTDDS(20, 4, K=np.int64(4), beta=np.float64(0.8), duplicates=duplicates)
    feed(through, logits[:5])
    batches = torch.arange(20).split(8)
    for index in batches[:n_batches]:
        through.update(index, logits[5][index])
    file = io.BytesIO()
    torch.save({"online": through.state_dict()}, file)
    file.seek(0)
    resumed = OnlineTDDS(20, 4, K=4, beta=0.8, duplicates=duplicates)
    feed(resumed, logits[:2])  # whatever it has seen is forgotten
    resumed.load_state_dict(torch.load(file, weights_only=True)["online"])
    for one in (through, resumed):
        for index in batches[n_batches:]:
            one.update(index, logits[5][index])
        one.end_epoch()
        feed(one, logits[6:])
    np.testing.assert_array_equal(resumed.scores(), through.scores())
    for n_samples, K, difference in [
        (20, 5, "K=4, this object K=5"),
        (21, 4, "n_samples=20, this object n_samples=21"),
    ]:
        other = OnlineTDDS(n_samples, 4, K=K, beta=0.8, duplicates=duplicates)
        with pytest.raises(ValueError, match=rf"^This state has {difference}\.$"):
            other.load_state_dict(through.state_dict())


@pytest.mark.parametrize(("name", "other"), [("duplicates", "last"), ("dtype", "float32")])
def test_a_checkpoint_of_other_memory_is_refused(name, other):
    state = OnlineTDDS(20, 4, K=3).state_dict()
    with pytest.raises(ValueError, match=rf"^This state has {name}='[a-z.0-9]+', this object {name}='.*{other}'\.$"):
        OnlineTDDS(20, 4, K=3, **{name: other}).load_state_dict(state)


def test_online_work_in_the_background_is_the_same(monkeypatch):
    """What a GPU's batches go through when the state is held on the host."""
    from tdds.torch.batches import Background

    logits, _ = given()
    direct, online = OnlineTDDS(20, 4, K=3), OnlineTDDS(20, 4, K=3)
    feed(direct, logits)
    online._background = Background()
    for epoch in logits:
        for index in torch.arange(20).split(8):
            online._background.put(online._take, index, torch.softmax(epoch[index].float(), 1).half())
        online.end_epoch()
    np.testing.assert_array_equal(online.scores(), direct.scores())
    whole = copy.deepcopy(online.state_dict())
    online._background.put(online._take, torch.tensor([0]), torch.zeros(1, 3).half())
    with pytest.raises(tdds.TrajectoryError, match="Scoring epoch 7 failed") as caught:
        online.end_epoch()
    assert isinstance(caught.value.__cause__, RuntimeError)
    online.load_state_dict(whole)  # it can go on from there
    np.testing.assert_array_equal(online.scores(), direct.scores())
    online._background.stop()


# Datasets, sampler, loss


def test_indexed_dataset_with_workers():
    dataset = digits(50)
    seen = {}
    for index, x, y in DataLoader(IndexedDataset(dataset), batch_size=8, shuffle=True, num_workers=2):
        for i, image, label in zip(index.tolist(), x, y, strict=True):
            seen[i] = image, label
    assert sorted(seen) == list(range(50))
    for i, (image, label) in seen.items():
        assert torch.equal(image, dataset[i][0])
        assert label == dataset[i][1]


def test_indexed_dataset_items():
    assert IndexedDataset([("a", 1), ("b", 2)])[-1] == (1, "b", 2)
    assert IndexedDataset([["a", 1]])[torch.tensor(0)] == (0, "a", 1)
    assert IndexedDataset(["a"])[0] == (0, "a")
    index, batch = next(iter(DataLoader(IndexedDataset([{"x": 1.0}, {"x": 2.0}]), batch_size=2)))
    assert index.tolist() == [0, 1]
    assert batch["x"].tolist() == [1, 2]
    assert [i for i, _ in IndexedDataset("abc")] == [0, 1, 2]
    dataset = digits(5)
    assert len(IndexedDataset(dataset)) == 5
    assert not hasattr(IndexedDataset(dataset), "tensors")
    assert IndexedDataset(dataset).dataset is dataset

    class Stream(IterableDataset):
        def __iter__(self):
            return iter(())

    for other in (Stream(), 3):
        with pytest.raises(TypeError, match="Expected a dataset with"):
            IndexedDataset(other)


class ReadAtOnce:
    """As Hugging Face's data sets: a batch in one call."""

    def __len__(self):
        return 9

    def __getitem__(self, i):
        raise AssertionError("one by one")

    def __getitems__(self, batch):
        assert type(batch) is list
        return [{"x": 10 * i} for i in batch]


def test_batches_are_read_at_once_where_the_dataset_can():
    kept = [8, 3, 5]
    for dataset in (
        CoresetDataset(IndexedDataset(ReadAtOnce()), kept, weights=[0.5, 1, 2]),
        IndexedDataset(CoresetDataset(ReadAtOnce(), kept, weights=[0.5, 1, 2])),
    ):
        ((index, batch, weights),) = DataLoader(dataset, batch_size=3)
        assert batch["x"].tolist() == [80, 30, 50]
        assert weights.tolist() == [0.5, 1, 2]
        assert index.tolist() in ([8, 3, 5], [0, 1, 2])
    with pytest.raises(IndexError, match=r"^Item 3 of 3\.$"):
        dataset.__getitems__([3])


def test_coreset_of_a_classifier():
    from sklearn.linear_model import SGDClassifier

    X, y = load_digits(return_X_y=True)
    model = tdds.CoresetClassifier(
        SGDClassifier(loss="log_loss"), n_epochs=4, K=3, sampler="class_balanced", weighting="root", random_state=0
    ).fit(X, y)
    kept = CoresetDataset(list(zip(X, y, strict=True)), model)
    np.testing.assert_allclose(kept.weights, model.sample_weight_, rtol=1e-6, atol=1e-30)
    assert kept.indices.tolist() == list(CoresetSampler(model, shuffle=False)) == model.sample_indices_.tolist()
    for make in (lambda one: CoresetDataset(list(X), one), CoresetSampler):
        with pytest.raises(NotFittedError):
            make(tdds.CoresetClassifier(SGDClassifier(loss="log_loss")))


def test_coreset_dataset_of_a_selector():
    dataset = digits(60)
    probs = torch.softmax(given(60, 12, 10)[0], -1).transpose(0, 1).numpy()
    selector = tdds.TDDSSelector(K=5, pruning_rate=0.7)
    with pytest.raises(ValueError, match="not fitted"):
        CoresetDataset(dataset, selector)
    selector.fit(probs)
    kept = CoresetDataset(dataset, selector)
    assert len(kept) == 18
    drawn = [batch for batch in DataLoader(kept, batch_size=5, num_workers=2)]
    weights = torch.cat([weight for *_, weight in drawn])
    assert weights.dtype == torch.float32
    np.testing.assert_allclose(weights, selector.sample_weight_, rtol=1e-6)
    assert torch.equal(torch.cat([x for x, *_ in drawn]), dataset.tensors[0][selector.sample_indices_])
    index, *_ = CoresetDataset(IndexedDataset(dataset), selector)[3]
    assert index == selector.sample_indices_[3]
    assert IndexedDataset(kept)[3][0] == 3
    with pytest.raises(ValueError, match="The selector knows 60 samples, the dataset holds 61"):
        CoresetDataset(digits(61), selector)


def test_coreset_dataset_of_indices():
    kept = CoresetDataset(["a", "b", "c"], [2, 0])
    assert [kept[j] for j in range(2)] == [("c", 1.0), ("a", 1.0)]
    for indices, error, message in [
        ([0, 3], ValueError, "Index 3 is out of range; expected 0 to 2."),
        ([-1], ValueError, "Index -1 is out of range; expected 0 to 2."),
        ([True, False, True], TypeError, "integer indices; got bool"),
        ([], TypeError, "integer indices; got float64"),
        ([[0]], ValueError, "(n_kept,)"),
    ]:
        with pytest.raises(error, match=re.escape(message)):
            CoresetDataset(["a", "b", "c"], indices)
    with pytest.raises(ValueError, match=r"weights have shape \(3,\); expected one a kept sample, \(2,\)"):
        CoresetDataset(["a", "b", "c"], [0, 1], [1, 2, 3])
    for wrong in (-1, np.nan):
        with pytest.raises(ValueError, match="negative or not finite"):
            CoresetDataset(["a", "b", "c"], [0, 1], [1, wrong])


@pytest.mark.parametrize("n_kept", [1, 2, 17, 18])
@pytest.mark.parametrize("num_replicas", [1, 2, 4])
@pytest.mark.parametrize("drop_last", [False, True])
def test_coreset_sampler_shares_the_coreset_out(n_kept, num_replicas, drop_last):
    indices = np.random.default_rng(0).permutation(100)[:n_kept]
    samplers = [
        CoresetSampler(indices, seed=3, num_replicas=num_replicas, rank=rank, drop_last=drop_last)
        for rank in range(num_replicas)
    ]
    orders = []
    for epoch in range(2):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        drawn = [list(sampler) for sampler in samplers]
        assert {len(own) for own in drawn} == {len(samplers[0])}
        together = list(itertools.chain(*drawn))
        if drop_last:
            assert len(together) == len(set(together)) == n_kept // num_replicas * num_replicas
            assert set(together) <= set(indices.tolist())
        else:
            assert set(together) == set(indices.tolist())
            assert len(together) - n_kept < num_replicas
        orders.append(together)
        for sampler in samplers:
            sampler.set_epoch(epoch)
        assert [list(sampler) for sampler in samplers] == drawn
    if n_kept > 10:
        assert orders[0] != orders[1]


def test_coreset_sampler_in_one_process_shuffles_anew_each_epoch_and_resumes():
    sampler = CoresetSampler(np.arange(50))
    first, second = list(sampler), list(sampler)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(50))
    sampler.set_epoch(1)
    assert list(sampler) == second
    assert list(CoresetSampler([4, 2, 9], shuffle=False)) == [4, 2, 9]
    loader = DataLoader(IndexedDataset(digits(50)), sampler=CoresetSampler([4, 2, 9]), batch_size=2)
    assert sorted(torch.cat([index for index, *_ in loader]).tolist()) == [2, 4, 9]
    for options, message in [({"rank": 1}, "pass both"), ({"rank": 2, "num_replicas": 2}, "expected 0 to 1")]:
        with pytest.raises(ValueError, match=message):
            CoresetSampler([1, 2], **options)


def test_weighted_loss_by_hand():
    losses, weights = torch.tensor([1.0, 2.0, 6.0], requires_grad=True), torch.tensor([0.5, 2.0, 1.0]).double()
    assert weighted_loss(losses, weights).item() == pytest.approx((0.5 + 4 + 6) / 3)
    assert weighted_loss(losses, weights, "root").item() == pytest.approx((0.5 + 4 + 6) / 3)
    assert weighted_loss(losses, weights, "batch_mean").item() == pytest.approx(3 * 3.5 / 3)
    assert weighted_loss(losses, weights, "none").item() == 3
    assert weighted_loss(losses, weights).dtype == torch.float32
    weighted_loss(losses, weights).backward()
    np.testing.assert_allclose(losses.grad, weights / 3, rtol=1e-6)
    for wrong in (losses.mean(), losses[:, None], losses[:2]):
        with pytest.raises(ValueError, match="reduction='none'"):
            weighted_loss(wrong, weights)
    with pytest.raises(ValueError, match="weighting"):
        weighted_loss(losses, weights, "sum")


def test_from_training_to_training_on_less(tmp_path):
    dataset, model = digits(), small_cnn()
    online = OnlineTDDS(N_SAMPLES, N_CLASSES, K=4)
    train(model, loader_of(IndexedDataset(dataset)), [online])
    scores = online.scores()
    kept = top(scores, 150)
    coreset = CoresetDataset(dataset, kept, importance_weights(scores, kept))
    model = small_cnn(seed=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(15):
        for x, y, weight in loader_of(coreset, batch_size=16):
            optimizer.zero_grad()
            weighted_loss(cross_entropy(model(x), y, reduction="none"), weight).backward()
            optimizer.step()
    accuracy = (model(dataset.tensors[0]).argmax(1) == dataset.tensors[1]).float().mean().item()
    assert accuracy > 0.8


# Several processes

N_SHARED, N_SHARED_EPOCHS, PER_BATCH = 101, 5, 16


def run_rank(rank, rendezvous, runs):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    for folder, die_at in runs:
        train_and_record(rank, Path(folder), die_at if rank else None)
    dist.destroy_process_group()


def train_and_record(rank, folder, die_at):
    """What a rank does: resume from the checkpoint and the store, train with DDP, record its part."""
    dataset = IndexedDataset(digits(N_SHARED))
    model = nn.parallel.DistributedDataParallel(small_cnn())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    checkpoint, start = folder / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["n_epochs"]
    recorder = TrajectoryRecorder(folder / "run", N_SHARED, N_CLASSES, resume=True)
    dist.barrier()
    assert recorder.n_epochs >= start
    if recorder.n_epochs > start:  # killed between the end of an epoch and its checkpoint
        recorder.close()
        recorder = TrajectoryRecorder(folder / "run", N_SHARED, N_CLASSES, resume=True, keep_epochs=start)
        dist.barrier()
    log = []
    with recorder:
        for epoch in range(start, N_SHARED_EPOCHS):
            # Epoch 0 is whole, with a duplicate of the sampler's padding; later ones have gaps.
            sampler = DistributedSampler(dataset, num_replicas=2, rank=rank, seed=1)
            sampler.set_epoch(epoch)
            loader = DataLoader(dataset, batch_size=PER_BATCH, sampler=sampler, drop_last=epoch > 0)
            for step, (index, x, y) in enumerate(loader):
                logits = model(x)
                recorder.update(index, logits)
                if die_at == (epoch, step):
                    os.kill(os.getpid(), signal.SIGKILL)
                optimizer.zero_grad()
                cross_entropy(logits, y).backward()
                optimizer.step()
                log.append((epoch, index.numpy(), torch.softmax(logits.detach(), 1).numpy()))
            recorder.end_epoch()
            dist.barrier()
            if rank == 0:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "n_epochs": epoch + 1}
                torch.save(state, folder / "half.pt")
                os.replace(folder / "half.pt", checkpoint)
            dist.barrier()
    rows = [(np.full(len(index), epoch), index, probs) for epoch, index, probs in log]
    np.savez(folder / f"log-{rank}.npz", **dict(zip("tip", map(np.concatenate, zip(*rows, strict=True)), strict=True)))


def launch(rendezvous, *runs):
    """Two processes go through the runs: (folder, when the second kills itself). Returns their exit codes."""
    for folder, _ in runs:
        folder.mkdir(exist_ok=True)
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=run_rank, args=(rank, rendezvous, runs)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    try:
        ranks[1].join(100)
        ranks[0].join(5)
    finally:
        for process in ranks:  # the survivor may wait for the dead one for ever
            process.kill()
            process.join()
    return [process.exitcode for process in ranks]


@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="torch.distributed lacks gloo")
def test_two_processes_merge_and_a_killed_one_changes_nothing(tmp_path):
    through, killed = tmp_path / "through", tmp_path / "killed"
    codes = launch(tmp_path / "first", (through, None), (killed, (2, 1)))
    assert codes[1] == -signal.SIGKILL
    merged = recorded(through / "run", missing="carry")

    # By hand: a duplicate keeps the value of the later part, a gap the value of the epoch before.
    logs = [np.load(through / f"log-{rank}.npz") for rank in (0, 1)]
    epochs, index, probs = (np.concatenate([log[name] for log in logs]) for name in "tip")
    assert (epochs == 0).sum() == N_SHARED + 1
    assert (epochs == 1).sum() == 2 * (51 // PER_BATCH) * PER_BATCH
    expected = np.empty((N_SHARED, N_SHARED_EPOCHS, N_CLASSES), dtype=np.float16)
    for epoch in range(N_SHARED_EPOCHS):
        expected[:, epoch] = expected[:, max(epoch - 1, 0)]
        rows = epochs == epoch
        expected[index[rows], epoch] = probs[rows]
    np.testing.assert_array_equal(merged, expected)
    with pytest.raises(tdds.TrajectoryError, match="Epoch 1 does not hold sample"):
        recorded(through / "run")

    assert tdds.open_trajectory(killed / "run").n_epochs == 2
    assert launch(tmp_path / "second", (killed, None)) == [0, 0]
    np.testing.assert_array_equal(recorded(killed / "run", missing="carry"), merged)


# Cost


def test_recording_costs_little(tmp_path):
    """Paired: the same step with and without the recorder, alternating; medians of blocks of steps."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8192, 100))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    n_samples, batch = 8 * 64, 64
    x, y = torch.randn(batch, 3, 32, 32), torch.randint(100, (batch,))
    recorder = TrajectoryRecorder(tmp_path, n_samples, 100)

    def run_epoch(recording):
        start = time.perf_counter()
        for index in torch.arange(n_samples).split(batch):
            logits = model(x)
            if recording:
                recorder.update(index, logits)
            cross_entropy(logits, y).backward()
            optimizer.step()
            optimizer.zero_grad()
        if recording:
            recorder.end_epoch()
        return time.perf_counter() - start

    with recorder:
        run_epoch(True)
        pairs = []
        for turn in range(6):
            order = (True, False) if turn % 2 else (False, True)
            times = {recording: run_epoch(recording) for recording in order}
            pairs.append((times[True], times[False]))
    steps = n_samples // batch
    overhead = np.median([with_it / without for with_it, without in pairs]) - 1
    print(f"\nstep {np.median(pairs) / steps * 1e3:.1f} ms, recording {overhead:+.1%}, end_epoch included")
    assert overhead < 0.25
