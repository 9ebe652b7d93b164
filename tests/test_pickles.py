"""Coverage-centric selection's pickles: read as it writes them, without running anything."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from test_logs import LOGITS, ORDERS, read_all

import tdds
from tdds.sources import pickles

torch = pytest.importorskip("torch", reason="torch, of the extra tdds[torch], is not installed")


def ccs_batches(log_probs, epochs):
    """As the trainer of coverage-centric selection hands them to its logger."""
    return [
        {"epoch": t, "iteration": n, "idx": torch.tensor(part), "output": log_probs[part, t]}
        for t in epochs
        for n, part in enumerate(np.array_split(ORDERS[t], 4))
    ]


def write_pickle(path, held):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(held))
    return path


def write_ccs(path, log_probs, epochs=range(7)):
    return write_pickle(path, {"data-name": "cifar10", "training_dynamics": ccs_batches(log_probs, epochs)})


LOG_PROBS = torch.log_softmax(torch.tensor(LOGITS), dim=2).half()


def test_ccs_one_file(tmp_path):
    path = write_ccs(tmp_path / "all-data" / "td-all-data.pickle", LOG_PROBS)
    write_pickle(tmp_path / "all-data" / "data-score-all-data.pickle", {})
    for place in (path, path.parent):
        trajectory = tdds.open_trajectory(place)
        assert (trajectory.kind, trajectory.dtype) == ("log_probs", "float16")
        np.testing.assert_array_equal(read_all(trajectory), LOG_PROBS.numpy())
    np.testing.assert_array_equal(
        tdds.score_trajectory(path, K=4), tdds.score_trajectory(LOG_PROBS.numpy(), K=4, kind="log_probs")
    )


def test_ccs_a_file_an_epoch(tmp_path):
    for t in range(7):  # the numbers in the names begin at 1
        write_ccs(tmp_path / "training-dynamics" / f"td-big-epoch-{t + 1}.pickle", LOG_PROBS, [t])
    np.testing.assert_array_equal(read_all(tdds.open_trajectory(tmp_path)), LOG_PROBS.numpy())


class Evil:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def evil_storage(payload):
    """A tensor whose storage, a pickle inside the pickle, is not what it seems."""
    return Evil(torch.storage._load_from_bytes, b"".join(pickle.dumps(part) for part in (0, 1, {})) + payload)


MALICIOUS = {
    "a call": (Evil(os.system, "touch PWNED"), r"it names posix\.system; only tensors and arrays are read\.$"),
    "a call in a storage": (
        evil_storage(pickle.dumps(Evil(os.system, "touch PWNED"))),
        r"it names posix\.system; only tensors and arrays are read\.$",
    ),
    "builtins": (Evil(eval, "open('PWNED', 'w')"), r"it names builtins\.eval; "),
    "a class": (Path("PWNED"), r"it names pathlib\.(_local\.)?\w*Path; "),
    "torch's loader": (Evil(torch.load, "PWNED"), r"it names torch\.serialization\.load; "),
    "a name with dots": (b"\x80\x04\x8c\x05numpy\x8c\x0dndarray.dumps\x93.", r"it names numpy\.ndarray\.dumps; "),
    "state set on a function": (
        b"\x80\x04\x8c\x0ctorch._utils\x8c\x12_rebuild_tensor_v2\x93N}\x8c\x0c__defaults__N\x86s\x86b.",
        "cannot be read as a pickle of tensors",
    ),
    "values beyond the storage": (
        Evil(torch._utils._rebuild_tensor_v2, torch.zeros(4)._typed_storage(), 0, (10**9,), (1,), False, {}),
        "strides is incompatible with shape of requested array",
    ),
    "a damaged file": (pickle.dumps(ccs_batches(LOG_PROBS, [0]))[:-2000], "cannot be read as a pickle of tensors"),
    "no pickle": (b"hello", "cannot be read as a pickle of tensors"),
    "another pickle": (
        {"entropy": torch.zeros(3)},
        r"expected 'training_dynamics', a list of batches; it holds entropy\.$",
    ),
    "a list": ([1, 2], "it holds list"),
    "no output": (
        {"training_dynamics": [{"epoch": 0, "idx": torch.zeros(3)}]},
        r"batch 0 is no epoch, idx \(n,\) and output",
    ),
    "fractions": (
        {"training_dynamics": [{"epoch": 0, "idx": torch.zeros(3), "output": torch.zeros(3, 2)}]},
        r"batch 0 is no epoch.*idx float32 \(3,\), output float32 \(3, 2\)",
    ),
    "a lost epoch": (
        {"training_dynamics": ccs_batches(LOG_PROBS, [0, 1, 3])},
        r"td-x\.pickle: epoch 3 follows epoch 1; expected 2\.$",
    ),
    "another width": (
        {"training_dynamics": ccs_batches(LOG_PROBS, [0]) + ccs_batches(LOG_PROBS[..., :3], [1])},
        r"epoch 1: rows of shape \(3,\) and type float16; expected \(4,\) and float16 as before\.$",
    ),
}


@pytest.mark.parametrize("name", MALICIOUS)
def test_a_pickle_runs_nothing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    held, text = MALICIOUS[name]
    path = tmp_path / "td-x.pickle"
    path.write_bytes(held if isinstance(held, bytes) else pickle.dumps(held))
    with pytest.raises(tdds.TrajectoryError, match=text):
        tdds.open_trajectory(path)
    assert [file.name for file in tmp_path.iterdir()] == ["td-x.pickle"]


def test_the_malicious_pickle_is_malicious(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(MALICIOUS["a call"][0]))
    assert (tmp_path / "PWNED").exists()


@pytest.mark.parametrize("protocol", range(3, 6))
def test_tensors_and_arrays_of_every_type_and_layout(protocol, tmp_path):
    wide = torch.arange(24.0).reshape(4, 6)
    held = {
        "types": [
            torch.arange(5).to(dtype) for dtype in (torch.half, torch.double, torch.int32, torch.uint8, torch.int16)
        ],
        "views": [wide[1:3, ::2], wide.T, wide[0, 0], torch.zeros(0, 3)],
        "arrays": [np.arange(6.0).reshape(2, 3), np.asfortranarray(wide.numpy()), np.array(["a", "b"])],
        "twice": [wide, wide],
    }
    path = tmp_path / "held.pickle"
    path.write_bytes(pickle.dumps(held, protocol=protocol))
    read = pickles.read_pickle(path)
    for name, values in held.items():
        for one, expected in zip(read[name], values, strict=True):
            assert one.dtype == np.asarray(expected).dtype
            np.testing.assert_array_equal(one, np.asarray(expected))
