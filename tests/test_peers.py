"""Beside packages that compute the same, where they are installed: ``pip install datacull==1.0.2``, ``-m peers``."""

import numpy as np
import pytest

import tdds

pytestmark = pytest.mark.peers


def logged(shape=(60, 12, 10)):
    rng = np.random.default_rng(0)
    return (2 * rng.normal(size=shape)).cumsum(axis=1).astype(np.float32), rng.integers(shape[2], size=shape[0])


@pytest.fixture
def datacull(tmp_path):
    """Writes a trajectory as datacull logs it; from an importance of it, and its parameters, to scores."""
    pytest.importorskip("datacull")
    import torch
    from datacull import DCDataset, DCLogger

    def importance(kind, logits, y, **parameters):
        data = torch.utils.data.TensorDataset(torch.zeros(len(y)), torch.from_numpy(y))
        data.targets = y
        logger = DCLogger(trajectory_dir=f"{tmp_path}/", save_every_k_epoch=1)
        for epoch in range(logits.shape[1]):
            logger.log_metric(epoch, torch.arange(len(logits)), torch.from_numpy(logits[:, epoch].copy()))
        length = logits.shape[1]
        return kind(DCDataset(data), trajectory_length=length, logger_object=logger, **parameters).compute_importance()

    return importance


@pytest.mark.parametrize("K", [3, 5, 12])
@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_formulation_datacull(datacull, K, beta):
    from datacull import TDDSImportance

    logits, y = logged()
    theirs = datacull(TDDSImportance, logits, y, window_size=K, decay=beta)
    ours = tdds.score_trajectory(logits, kind="logits", K=K, beta=beta, formulation="datacull")
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)  # theirs: in float32, no 1e-8 inside the logarithm
    assert np.median(np.abs(ours / theirs - 1)) < 2e-6
    np.testing.assert_array_equal(np.argsort(ours), np.argsort(theirs))
    paper = tdds.score_trajectory(logits, kind="logits", K=K, beta=beta)
    assert np.median(np.abs(paper / theirs - 1)) > 0.01


def test_aum(datacull):
    from datacull import AUMImportance

    logits, y = logged()
    theirs = datacull(AUMImportance, logits, y)
    np.testing.assert_allclose(
        tdds.score_trajectory(logits, y, kind="logits", method="aum"), theirs, rtol=1e-4, atol=1e-6
    )
