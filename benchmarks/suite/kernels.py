"""Time of each kernel, by dtype and number of classes."""

import numpy as np

from tdds import kernels, store
from tdds.scores import KLDifferences

from . import N_VALUES

N_EPOCHS = 30


def trajectory(n_classes, dtype="float32", n_values=None):
    n_samples = max(1, (n_values or N_VALUES) // (N_EPOCHS * n_classes))
    probs = np.random.default_rng(0).random((n_samples, N_EPOCHS, n_classes)) ** 3
    return (probs / probs.sum(axis=-1, keepdims=True)).astype(dtype)


class Differences:
    """Eq. 10 in both precisions, with the absolute value outside and inside the class sum."""

    params = ((10, 100, 1000), ("single", "double", "float64"), (False, True))
    param_names = ("n_classes", "terms", "inner_magnitude")

    def setup(self, n_classes, terms, inner_magnitude):
        self.probs = trajectory(n_classes, "float64" if terms == "float64" else "float32")
        self.out = np.empty((len(self.probs), N_EPOCHS - 1))
        self.time_kl_differences(n_classes, terms, inner_magnitude)

    def time_kl_differences(self, n_classes, terms, inner_magnitude):
        kernels.kl_differences(self.probs, terms == "single", inner_magnitude, self.out)


class Stored:
    """Eq. 10 of each stored type, with the check of every row."""

    params = ((10, 100, 1000), ("float32", "float16", "bfloat16", "log8"))
    param_names = ("n_classes", "dtype")

    def setup(self, n_classes, dtype):
        cast = {"bfloat16": store.float32_to_bfloat16, "log8": store.probs_to_log8}.get(
            dtype, lambda x: x.astype(dtype)
        )
        self.stored = cast(trajectory(n_classes))
        self.time_of_stored(n_classes, dtype)

    def time_of_stored(self, n_classes, dtype):
        KLDifferences(single=True).of_stored(self.stored)


class Reading:
    """What turns stored values into probabilities, and checks them."""

    params = (10, 100, 1000)
    param_names = ("n_classes",)

    def setup(self, n_classes):
        self.probs = trajectory(n_classes)
        self.logits = np.log(self.probs)
        self.out = np.empty(self.probs.shape)
        self.sums = np.empty(self.probs.shape[:2])
        self.wide = np.empty(self.probs.size, dtype=np.float32)
        self.halves = self.probs.astype(np.float16)
        self.bfloats = store.float32_to_bfloat16(self.probs)
        self.codes = store.probs_to_log8(self.probs)
        for name in dir(self):
            if name.startswith("time_"):
                getattr(self, name)(n_classes)

    def time_row_sums(self, n_classes):
        kernels.row_sums(self.probs, self.sums)

    def time_softmax(self, n_classes):
        kernels.softmax(self.logits, self.out)

    def time_widen_float16(self, n_classes):
        store.widen(self.halves, self.wide)

    def time_widen_bfloat16(self, n_classes):
        store.widen(self.bfloats, self.wide)

    def time_decode_log8(self, n_classes):
        store.widen(self.codes, self.wide)


class OfDifferences:
    """Eq. 11 and 12: N x (T - 1) numbers, whatever the number of classes."""

    params = (5, 10, 20)
    param_names = ("K",)

    def setup(self, K):
        self.diffs = np.random.default_rng(0).random((N_VALUES // 100, N_EPOCHS - 1))
        self.variances = np.empty((len(self.diffs), N_EPOCHS - K + 1))
        self.gains, self.scores = np.full(self.variances.shape[1], 0.9), np.zeros(len(self.diffs))
        self.time_windowed_variance(K)
        self.time_moving_average(K)

    def time_windowed_variance(self, K):
        kernels.windowed_variance(self.diffs, False, self.variances)

    def time_moving_average(self, K):
        kernels.moving_average(self.variances, self.gains, self.scores)
