"""Training goes on, or stops with a clear error, when the disk is full: on a real file system of a few megabytes."""

# ruff: noqa: E402  torch may be absent

import errno
import subprocess

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch, of the extra tdds[torch], is not installed")

import tdds
from tdds import store
from tdds.torch import TrajectoryRecorder

N_SAMPLES, N_CLASSES, BATCH = 6000, 100, 500  # three chunks of 400 kB an epoch
MEGABYTE = 1 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A folder that holds 8 MB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(tmp_path)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        pytest.skip(f"no file system can be mounted: {error}")
    if done.returncode:
        pytest.skip(f"only root may mount a small file system: {done.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def fill(folder, free):
    """Leave so many bytes free."""
    with open(folder / "ballast", "wb", buffering=0) as ballast:
        block = bytes(4096)
        try:
            while True:
                ballast.write(block)
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017
        ballast.truncate(ballast.tell() - free)


def train(recorder=None, n_epochs=6, before_epoch=lambda epoch: None):
    """Train a linear model; returns it, and its float16 predictions by hand, (n_samples, n_epochs, n_classes)."""
    torch.manual_seed(0)
    X, y = torch.randn(N_SAMPLES, 8), torch.randint(N_CLASSES, (N_SAMPLES,))
    model = torch.nn.Linear(8, N_CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    by_hand = np.empty((N_SAMPLES, n_epochs, N_CLASSES), np.float16)
    for epoch in range(n_epochs):
        before_epoch(epoch)
        for index in torch.randperm(N_SAMPLES).split(BATCH):
            logits = model(X[index])
            if recorder is not None:
                recorder.update(index, logits)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, y[index]).backward()
            optimizer.step()
            by_hand[index, epoch] = torch.softmax(logits.detach(), 1).half()
        if recorder is not None:
            recorder.end_epoch()
    return model, by_hand


def recorded(path):
    trajectory = tdds.open_trajectory(path)
    values = np.empty((N_SAMPLES, trajectory.n_epochs, N_CLASSES))
    with trajectory.reader() as read:
        read(0, N_SAMPLES, 0, values)
    return values


def test_raise_stops_the_training_with_a_clear_error(small_disk):
    run = small_disk / "run"
    with (
        pytest.raises(tdds.TrajectoryError) as caught,
        TrajectoryRecorder(run, N_SAMPLES, N_CLASSES) as recorder,
    ):
        train(recorder, n_epochs=20)
    n_whole = recorder.n_epochs
    assert n_whole in (5, 6)  # 1.2 MB each
    expected = (
        f"Recording epoch {n_whole} into {run} failed: [Errno 28] No space left on device: "
        f"'{run / f'epoch-{n_whole:05d}.h5'}'\nEarlier epochs are whole."
    )
    assert str(caught.value).startswith(expected)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC

    report = store.verify(run)
    assert (report.problems, report.n_whole) == ([], n_whole)
    assert not list(run.glob(".*"))
    by_hand = train(n_epochs=n_whole)[1]
    np.testing.assert_array_equal(recorded(run), by_hand)
    np.testing.assert_array_equal(tdds.score_trajectory(run, K=4), tdds.score_trajectory(by_hand, K=4))


def test_warn_trains_on_and_records_again_when_there_is_space(small_disk):
    run = small_disk / "run"

    def before_epoch(epoch):
        if epoch in (2, 3):  # nothing can be written; then a part of the epoch
            fill(small_disk, free=0 if epoch == 2 else MEGABYTE // 2)
        if epoch == 4:
            (small_disk / "ballast").unlink()

    with TrajectoryRecorder(run, N_SAMPLES, N_CLASSES, on_error="warn") as recorder:
        with pytest.warns(RuntimeWarning, match="No space left on device") as caught:
            model, by_hand = train(recorder, before_epoch=before_epoch)
        assert recorder.n_epochs == 4
    assert [str(warning.message).splitlines()[1] for warning in caught] == [
        "Earlier epochs are whole; this epoch is not recorded, training goes on."
    ] * 2
    assert {warning.filename for warning in caught} == {__file__}
    for ours, without in zip(model.parameters(), train()[0].parameters(), strict=True):
        assert torch.equal(ours, without)

    report = store.verify(run)
    assert (report.problems, report.n_whole) == ([], 4)
    np.testing.assert_array_equal(recorded(run), by_hand[:, [0, 1, 4, 5]])
    assert tdds.score_trajectory(run, K=4).shape == (N_SAMPLES,)
