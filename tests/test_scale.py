"""Memory does not grow with the data: gigabytes scored by a process that stays small."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MEASURE = """
import json, sys
from tdds import score_trajectory
from tdds.estimate import peak_memory
scores = score_trajectory(sys.argv[1], n_jobs=2)
print(json.dumps({"n": len(scores), "mib": peak_memory() / 2**20}))
"""


def synthetic():
    spec = importlib.util.spec_from_file_location("synthetic", ROOT / "data_tools" / "synthetic.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def peak(source):
    done = subprocess.run([sys.executable, "-c", MEASURE, source], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_three_gigabytes_under_600_mib(tmp_path, dtype):
    n_samples = 3 * 2**30 // (30 * 1000 * (2 if dtype == "float16" else 4))
    path = tmp_path / "run.h5"
    synthetic().write_hdf5(path, n_samples, 30, 1000, dtype)
    assert path.stat().st_size > 3 * 10**9
    measured = peak(f"{path}::probs")
    print(measured)
    assert measured["n"] == n_samples
    assert measured["mib"] < 600


@pytest.mark.slow
def test_gigabyte_of_npy_in_arrival_order_under_600_mib(tmp_path):
    synthetic().write_npy(tmp_path / "logs", 90_000, 30, 100)
    measured = peak(str(tmp_path / "logs"))
    print(measured)
    assert measured["n"] == 90_000
    assert measured["mib"] < 600


def test_peak_is_flat_when_the_data_double(tmp_path):
    peaks = []
    synthetic().write_hdf5(tmp_path / "first.h5", 100, 20, 100, "float16")
    peak(f"{tmp_path / 'first.h5'}::probs")  # compiles the kernels, which takes more memory than they do
    for n_samples in (20_000, 40_000):
        path = tmp_path / f"{n_samples}.h5"
        synthetic().write_hdf5(path, n_samples, 20, 100, "float16")
        peaks.append(peak(f"{path}::probs")["mib"])
    assert peaks[1] < peaks[0] + 40
