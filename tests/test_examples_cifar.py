"""The CIFAR-10 example, as a reader runs it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tdds

pytest.importorskip("torch", reason="torch, of the extra tdds[torch], is not installed")
pytest.importorskip("PIL", reason="pillow is not installed")

EXAMPLE = Path(__file__).parents[1] / "examples" / "cifar10.py"


def run(*arguments):
    command = [sys.executable, "-W", "error", EXAMPLE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow  # half a minute of processor time
def test_from_images_to_training_on_fewer(shared, tmp_path):
    pack = shared("data/cifar10-jpeg.npz")
    done = run(pack, "--n-train", 2000, "--epochs", 4, "--pruning-rate", 0.7, "--device", "cpu", "--out", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2,000 scores, to five digits the same from the file as online" in done.stdout
    header, *rows = done.stdout.split("\n\n")[1].splitlines()
    assert header.split() == ["trained", "on", "images", "test", "accuracy"]
    names = [("all", "2,000"), ("TDDS coreset, weighted", "600"), ("random coreset", "600")]
    assert [tuple(row.rsplit(maxsplit=2)[:2]) for row in rows] == names
    accuracy = [float(row.rsplit(maxsplit=1)[1].rstrip("%")) for row in rows]
    assert min(accuracy) > 12  # better than a guess
    assert accuracy[0] > 30
    trajectory = tdds.open_trajectory(tmp_path / "run")
    assert (trajectory.n_samples, trajectory.n_epochs, trajectory.n_classes) == (2000, 4, 10)
    assert np.bincount(trajectory.labels).min() > 150


def test_a_missing_data_set_is_one_sentence(tmp_path):
    done = run(tmp_path / "absent.tar.gz")
    assert done.returncode == 1
    assert done.stderr.startswith(f"{tmp_path / 'absent.tar.gz'} does not exist. Download https://www.cs.toronto.edu")
    assert len(done.stderr.splitlines()) == 1
