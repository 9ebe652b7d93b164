"""The same scores as others compute them, beside `tdds`: NumPy and torch on whole arrays, datacull 1.0.2."""

import tempfile

import numpy as np

import tdds

from .kernels import N_EPOCHS, trajectory

K, BETA = 10, 0.9


def numpy_way(probs):
    """Eq. 10 to 12 on whole arrays."""
    logs = np.log(probs + 1e-8)
    diffs = np.abs((probs[:, 1:] * (logs[:, 1:] - logs[:, :-1])).sum(axis=2))
    windows = np.lib.stride_tricks.sliding_window_view(diffs, K - 1, axis=1)
    average = 0.0
    for variances in ((windows - windows.mean(axis=2, keepdims=True)) ** 2).sum(axis=2).T:
        average = BETA * variances + (1 - BETA) * average
    return average


def torch_way(probs):
    """Eq. 10 to 12 on whole tensors."""
    logs = (probs + 1e-8).log()
    diffs = (probs[:, 1:] * (logs[:, 1:] - logs[:, :-1])).sum(dim=2).abs()
    windows = diffs.unfold(1, K - 1, 1)
    average = 0.0
    for variances in (windows.var(dim=2, correction=0) * (K - 1)).T:
        average = BETA * variances + (1 - BETA) * average
    return average


class WholeArrays:
    """Time and peak memory of scoring an array in memory."""

    params = ((10, 100, 1000), ("tdds", "numpy", "torch"))
    param_names = ("n_classes", "way")

    def setup(self, n_classes, way):
        probs = trajectory(n_classes)
        if way == "torch":
            import torch

            probs = torch.from_numpy(probs)
        self.probs = probs
        ways = {"tdds": lambda probs: tdds.score_trajectory(probs, K=K, beta=BETA), "numpy": numpy_way}
        self.score = (ways | {"torch": torch_way})[way]
        self.time_score(n_classes, way)

    def time_score(self, n_classes, way):
        self.score(self.probs)

    def peakmem_score(self, n_classes, way):
        self.score(self.probs)


class Datacull:
    """From datacull's own logs of logits to TDDS scores, by datacull and by `tdds`."""

    params = ("tdds", "datacull")
    param_names = ("way",)

    def setup(self, way):
        try:
            import torch
            from datacull import DCDataset, DCLogger, TDDSImportance
        except ImportError:
            raise NotImplementedError("pip install datacull==1.0.2") from None  # asv then leaves it out
        probs = trajectory(10)[:1000]
        self.folder = tempfile.TemporaryDirectory()
        labels = torch.zeros(len(probs), dtype=torch.int64)
        data = torch.utils.data.TensorDataset(torch.zeros(len(probs)), labels)
        data.targets = labels.numpy()
        logger = DCLogger(trajectory_dir=f"{self.folder.name}/", save_every_k_epoch=1)
        for t in range(N_EPOCHS):
            logger.log_metric(t, torch.arange(len(probs)), torch.from_numpy(np.log(probs[:, t])))
        if way == "tdds":
            self.score = lambda: tdds.score_trajectory(self.folder.name, K=K, formulation="datacull")
        else:
            options = {"trajectory_length": N_EPOCHS, "logger_object": logger, "window_size": K, "decay": BETA}
            self.score = TDDSImportance(DCDataset(data), **options).compute_importance
        self.time_score(way)

    def teardown(self, way):
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def time_score(self, way):
        self.score()
