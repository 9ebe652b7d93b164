"""Time and peak memory of scoring, by kind of source and by what is asked for; of importing the package."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import tdds
from tdds import store

from .kernels import N_EPOCHS, trajectory

N_CLASSES = 100
ASKED = {
    "tdds": {},
    "grid": {"T": [15, 20, 25, 30], "K": [8, 10, 15], "beta": [0, 0.1, 0.5, 0.9, 1]},
    "five methods": {"method": ["tdds", "forgetting", "aum", "el2n", "dyn_unc"]},
}


def make_source(kind, folder):
    """The same trajectory as this kind of source: something that `score_trajectory` takes."""
    probs = trajectory(N_CLASSES)
    if kind == "array":
        return probs
    if kind == "npy directory":
        for t in range(N_EPOCHS):
            order = np.random.default_rng(t).permutation(len(probs))
            np.save(folder / f"{t}_Output.npy", np.log(probs[order, t]))
            np.save(folder / f"{t}_Index.npy", order)
        return folder
    dtype = kind.split()[-1]
    if kind.startswith("packed"):
        store.pack(tdds.open_trajectory(probs), folder / "packed.h5", dtype=dtype)
        return folder / "packed.h5"
    with tdds.TrajectoryWriter(folder / "run", len(probs), N_CLASSES, dtype=dtype) as writer:
        for t in range(N_EPOCHS):
            order = np.random.default_rng(t).permutation(len(probs))
            writer.write(order, probs[order, t])
            writer.end_epoch()
    return folder / "run"


class Source:
    params = ("array", "npy directory", "store float16", "packed float16", "packed float32", "packed log8")
    param_names = ("source",)

    def setup(self, kind):
        self.folder = tempfile.TemporaryDirectory()
        self.source = make_source(kind, Path(self.folder.name))
        self.time_score(kind)

    def teardown(self, kind):
        self.folder.cleanup()

    def time_score(self, kind):
        tdds.score_trajectory(self.source)

    def peakmem_score(self, kind):
        tdds.score_trajectory(self.source)


class Asked:
    """One setting, a grid of 60, five methods: each in one reading."""

    params = tuple(ASKED)
    param_names = ("asked",)

    def setup(self, asked):
        self.probs = trajectory(N_CLASSES)
        self.labels = self.probs[:, -1].argmax(axis=1)
        self.time_score(asked)

    def time_score(self, asked):
        tdds.score_trajectory(self.probs, self.labels, **ASKED[asked])


class Import:
    def time_import(self):
        subprocess.run([sys.executable, "-c", "import tdds"], check=True)

    def time_import_the_selector(self):
        subprocess.run([sys.executable, "-c", "from tdds import TDDSSelector"], check=True)
