"""Logs of other tools: read as they write them, in flat memory. Their pickles: `test_pickles.py`."""

import json
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import checks
import numpy as np
import pytest
from typer.testing import CliRunner

import tdds
from tdds.cli.commands import app

SHAPE = (30, 7, 4)
LOGITS, Y = checks.logged("logits", SHAPE, dtype=np.float32)
ORDERS = [np.random.default_rng(t).permutation(30) for t in range(7)]


def run(*arguments):
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output


def read_all(trajectory):
    values = np.empty(
        (trajectory.n_samples, trajectory.n_epochs, trajectory.n_classes)[: 2 + bool(trajectory.n_classes)]
    )
    with trajectory.reader() as read:
        read(0, trajectory.n_samples, 0, values)
    return values


def write_lines(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def write_cartography(folder, guids, first=0):
    """As `log_training_dynamics` of allenai/cartography writes, by pandas' to_json with ten decimals."""
    for t, order in enumerate(ORDERS, start=first):
        records = [
            {
                "guid": guids[i],
                f"logits_epoch_{t}": np.round(LOGITS[i, t - first].astype(float), 10).tolist(),
                "gold": int(Y[i]),
            }
            for i in order
        ]
        write_lines(folder / "training_dynamics" / f"dynamics_epoch_{t}.jsonl", records)
    return folder


def write_datacull(folder, values=LOGITS, step=1):
    """As datacull 1.0.2's DCLogger writes."""
    for t, order in enumerate(ORDERS):
        write_lines(folder / f"epoch{t * step}.jsonl", [{str(i): values[i, t].tolist()} for i in order])
    return folder


# ------------------------------------------------------------------------------------------- dataset cartography


@pytest.mark.parametrize("name", [".", "training_dynamics"])
def test_cartography(name, tmp_path):
    guids = np.random.default_rng(0).integers(10**12, size=30).tolist()
    trajectory = tdds.open_trajectory(write_cartography(tmp_path, guids) / name)
    order = np.argsort(guids)
    assert trajectory.kind == "logits"
    assert trajectory.ids.tolist() == sorted(guids)
    assert trajectory.labels.tolist() == Y[order].tolist()
    np.testing.assert_allclose(read_all(trajectory), LOGITS[order], rtol=0, atol=1e-6)
    again = pickle.loads(pickle.dumps(trajectory))
    np.testing.assert_array_equal(read_all(again), read_all(trajectory))


def test_cartography_by_text_or_by_the_samples_numbers(tmp_path):
    texts = [f"pair-{i:03}" for i in range(30)]
    trajectory = tdds.open_trajectory(write_cartography(tmp_path / "a", texts))
    assert trajectory.ids.tolist() == texts
    numbered = tdds.open_trajectory(write_cartography(tmp_path / "b", list(range(30)), first=1))
    assert numbered.ids is None
    for opened in (trajectory, numbered):
        np.testing.assert_allclose(read_all(opened), LOGITS, rtol=0, atol=1e-6)


def test_cartography_refuses_a_guid_that_epoch_0_lacks(tmp_path):
    write_cartography(tmp_path, list(range(100, 130)))
    path = tmp_path / "training_dynamics" / "dynamics_epoch_5.jsonl"
    path.write_text(path.read_text().replace('"guid": 117,', '"guid": 217,'))
    trajectory = tdds.open_trajectory(tmp_path)
    assert tdds.score_trajectory(trajectory, T=5, K=4).shape == (30,)  # later epochs are neither read nor checked
    with pytest.raises(tdds.TrajectoryError, match=r"_5\.jsonl: guid 217 is none of the 30 of epoch 0\.$"):
        tdds.score_trajectory(trajectory, K=4)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("{", r"epoch2\.jsonl: line 31 is b'\{\\n'; expected \{\"sample\": \[\.\.\.\]\} \(Expecting property name"),
        ('{"3": [1, 2, "a", 4]}', r"epoch2\.jsonl: line 31 is .*could not convert string to float"),
        ('{"3": [1, 2], "4": [1, 2]}', r"line 31 is .*too many values"),
        ('{"x": [1, 2, 3, 4]}', r"line 31 is .*invalid literal for int"),
        ("[1, 2]", r"line 31 is .*has no attribute 'items'"),
        ('{"3": [1, 2]}', r"epoch2\.jsonl: lines hold different numbers of values\.$"),
        ('{"-3": [1, 2, 3, 4]}', r", epoch 2: row 30 names sample -3; expected 0 or more\.$"),
        ('{"30": [1, 2, 3, 4]}', r"row 30 of epoch 2 names sample 30; expected 0 to 29, the samples of epoch 0\.$"),
    ],
)
def test_a_bad_line_is_named(line, text, tmp_path):
    tmp_path.joinpath("logs").mkdir()
    write_datacull(tmp_path / "logs")
    with (tmp_path / "logs" / "epoch2.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(tdds.TrajectoryError, match=text):
        tdds.score_trajectory(tmp_path / "logs", K=4)


# ----------------------------------------------------------------------------------------------------- datacull


@pytest.mark.parametrize("step", [1, 3])
def test_datacull(step, tmp_path):
    trajectory = tdds.open_trajectory(write_datacull(tmp_path, step=step))
    assert (trajectory.kind, trajectory.ids, trajectory.labels) == ("logits", None, None)
    np.testing.assert_array_equal(read_all(trajectory), LOGITS)
    assert tdds.open_trajectory(tmp_path, kind="log_probs").kind == "log_probs"


def test_datacull_of_losses(tmp_path):
    losses, _ = checks.logged("losses", SHAPE, dtype=np.float32)
    trajectory = tdds.open_trajectory(write_datacull(tmp_path, losses))
    assert (trajectory.kind, trajectory.n_classes) == ("losses", None)
    np.testing.assert_array_equal(read_all(trajectory), losses)
    with pytest.raises(ValueError, match="kind='logits' is not known; expected one of 'losses'"):
        tdds.open_trajectory(tmp_path, kind="logits")


def test_a_missing_file_is_named_when_it_is_needed(tmp_path):
    (write_datacull(tmp_path, step=2) / "epoch8.jsonl").unlink()
    trajectory = tdds.open_trajectory(tmp_path)
    expected = tdds.score_trajectory(LOGITS, T=4, K=4, kind="logits")
    np.testing.assert_array_equal(tdds.score_trajectory(trajectory, T=4, K=4), expected)
    with pytest.raises(tdds.TrajectoryError, match=r": epoch 8 is missing: no such file beside epoch0\.jsonl\.$"):
        tdds.score_trajectory(trajectory, K=4)


def test_two_files_of_one_epoch_are_named(tmp_path):
    shutil.copy(write_datacull(tmp_path, step=2) / "epoch8.jsonl", tmp_path / "epoch08.jsonl")
    text = r": epoch08\.jsonl and epoch8\.jsonl are both epoch 8; expected one run: move the other into a folder of its"
    with pytest.raises(tdds.TrajectoryError, match=text):
        tdds.open_trajectory(tmp_path)


@pytest.mark.peers
def test_what_datacull_itself_logs_and_computes(tmp_path):
    datacull, torch = pytest.importorskip("datacull"), pytest.importorskip("torch")
    logger = datacull.DCLogger(f"{tmp_path}/")
    for t, order in enumerate(ORDERS):
        for part in np.array_split(order, 4):
            logger.log_metric(t, torch.tensor(part), torch.tensor(LOGITS[part, t]))
    np.testing.assert_array_equal(read_all(tdds.open_trajectory(tmp_path)), LOGITS)
    data = datacull.DCDataset(list(zip(LOGITS, Y, strict=True)))
    theirs = datacull.TDDSImportance(data, 7, 4, 0.9, logger).compute_importance()
    ours = tdds.score_trajectory(tmp_path, K=4, formulation="datacull")
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


# ------------------------------------------------------------------------------------------------------ Dyn-Unc


def write_dyn_unc(folder, label_probs):
    """As `main_and_produce.py` of Dyn-Unc writes."""
    (folder / "pred_prob_history").mkdir(parents=True)
    for t in range(label_probs.shape[1]):
        np.savetxt(folder / "pred_prob_history" / f"prob_{t}.txt", label_probs[:, t])
    return folder


def test_dyn_unc(tmp_path):
    probs, y = checks.logged("probs", SHAPE, dtype=np.float32)
    of_label = probs[np.arange(30), :, y]
    path = write_dyn_unc(tmp_path, of_label)
    trajectory = tdds.open_trajectory(path)
    np.testing.assert_array_equal(read_all(trajectory)[..., 0], of_label)
    for method, options in [
        ("dyn_unc", {}),
        ("dual", {}),
        ("confidence", {}),
        ("variability", {}),
        ("tdds", {"loss": "ce"}),
    ]:
        scores = tdds.score_trajectory(trajectory, method=method, K=4, **options)
        expected = tdds.score_trajectory(probs, y, method=method, K=4, **options)
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-9, err_msg=method)
    losses = tdds.open_trajectory(path / "pred_prob_history", kind="losses")
    np.testing.assert_allclose(
        tdds.score_trajectory(losses, K=4), tdds.score_trajectory(probs, y, K=4, loss="ce"), rtol=1e-4
    )


def test_dyn_unc_writes_0_for_a_sample_that_it_did_not_see(tmp_path):
    probs, y = checks.logged("probs", SHAPE, dtype=np.float32)
    of_label = probs[np.arange(30), :, y]
    of_label[[4, 9], 3] = 0
    path = write_dyn_unc(tmp_path, of_label)
    with pytest.raises(
        tdds.TrajectoryError, match=r"^Epoch 3 does not hold sample 4 and 1 other; pass missing='carry'"
    ):
        tdds.score_trajectory(path, K=4)
    of_label[[4, 9], 3] = of_label[[4, 9], 2]
    np.testing.assert_array_equal(read_all(tdds.open_trajectory(path, missing="carry"))[..., 0], of_label)
    (path / "pred_prob_history" / "prob_5.txt").write_text("")
    of_label[:, 5] = of_label[:, 4]
    np.testing.assert_array_equal(read_all(tdds.open_trajectory(path, missing="carry"))[..., 0], of_label)


# ------------------------------------------------------------------------------------------------ what all share


def write_ccs(path):
    from test_pickles import LOG_PROBS, write_ccs  # skips without torch

    return write_ccs(path, LOG_PROBS).parent


FOREIGN = {
    "cartography": lambda folder: write_cartography(folder, list(range(500, 530))),
    "datacull": write_datacull,
    "Dyn-Unc": lambda folder: write_dyn_unc(folder, np.full((30, 7), 0.5, dtype=np.float32)),
    "CCS": lambda folder: write_ccs(folder / "td-x.pickle"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_convert(name, tmp_path):
    (tmp_path / "logs").mkdir()
    logs = FOREIGN[name](tmp_path / "logs")
    run("convert", str(logs), "-o", str(tmp_path / "run.h5"))
    source, packed = tdds.open_trajectory(logs), tdds.open_trajectory(tmp_path / "run.h5")
    np.testing.assert_array_equal(read_all(packed), read_all(source))
    for beside in ("labels", "ids"):
        expected, found = getattr(source, beside), getattr(packed, beside)
        assert (expected is None and found is None) or expected.tolist() == found.tolist()


@pytest.mark.parametrize("name", FOREIGN)
def test_logs_that_change_while_they_are_read_are_refused(name, tmp_path):
    FOREIGN[name](tmp_path)
    trajectory = tdds.open_trajectory(tmp_path)
    tdds.score_trajectory(trajectory, method="entropy" if name != "Dyn-Unc" else "loss", y=Y * 0, T=6)
    changed = max((path for path in tmp_path.rglob("*") if path.is_file()), key=lambda path: path.name)
    changed.write_bytes(changed.read_bytes() + b"\n")
    with pytest.raises(tdds.TrajectoryError, match=rf"{re.escape(str(changed))}: was changed or replaced"):
        tdds.score_trajectory(trajectory, K=3)


@pytest.mark.parametrize("name", FOREIGN)
def test_temporary_files_go_with_the_object(name, tmp_path, monkeypatch):
    (tmp_path / "logs").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    trajectory = tdds.open_trajectory(FOREIGN[name](tmp_path / "logs"))
    labelled = tdds.open_trajectory(trajectory, labels=Y % 2)
    assert trajectory.labels is None or (trajectory.labels != Y % 2).any()
    del trajectory
    assert tdds.score_trajectory(labelled, method="forgetting").shape == (30,)
    assert list((tmp_path / "temporary").iterdir())
    del labelled
    assert not list((tmp_path / "temporary").iterdir())


def test_axes_are_refused_where_the_form_has_its_own(tmp_path):
    with pytest.raises(
        ValueError, match=r"^axes='TNC', but <DatacullLogs .*> has an order of its own; leave axes out\.$"
    ):
        tdds.open_trajectory(write_datacull(tmp_path), axes="TNC")


def test_memory_is_flat(tmp_path):
    """40 MB of JSON are read with a peak that holds neither the text nor its numbers as Python objects."""
    values = np.random.default_rng(0).normal(size=(4000, 100)).astype(np.float32)
    lines = [json.dumps({str(i): row.tolist()}) + "\n" for i, row in enumerate(values)]
    for t in range(4):
        (tmp_path / f"epoch{t}.jsonl").write_text("".join(lines))
    code = (
        "import sys, tdds; tdds.score_trajectory(sys.argv[1], T=3, K=3)\n"
        "from tdds.estimate import peak_memory\n"
        "before = peak_memory()\n"
        "tdds.score_trajectory(sys.argv[1], K=3)\n"
        "print(peak_memory() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 8 << 20  # the numbers of one epoch alone are 12.8 MB as Python floats


# -------------------------------------------------------------------------------------------------- the guide


GUIDE = (Path(__file__).parents[1] / "docs" / "logs.md").read_text()
#: What a section's commands find: written by the section's own Python, or here.
WRITTEN = {
    "The TDDS authors' layout": lambda: checks.write_directory(Path("authors"), LOGITS, "logits"),
    "Coverage-centric selection": lambda: (
        write_ccs(Path("ccs") / "td-all-data.pickle"),
        np.save("labels.npy", Y),
    ),
    "Dyn-Unc": lambda: write_dyn_unc(Path("dynunc"), np.where(np.arange(7) == 3, 0, 0.5) + np.zeros((30, 1))),
    "Dataset cartography": lambda: write_cartography(Path("cartography"), list(range(50, 80))),
    "datacull": lambda: write_datacull(Path("datacull")),
    "HDF5": lambda: checks.write_hdf5("file.h5", LOGITS, "TNC"),
    "zarr": lambda: checks.write_zarr("run.zarr", LOGITS),
    ".npz": lambda: (checks.write_npz("arrival.npz", LOGITS, "logits"), np.savez("ordered.npz", logits=LOGITS)),
}


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.S)


SECTIONS = {text.split("\n", 1)[0]: text for text in GUIDE.split("\n## ")[1:] if "```" in text}


NEEDS = {"PyTorch": "torch", "Keras": "keras", "JAX": "jax", "zarr": "zarr"}
FRAMEWORK = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore::DeprecationWarning")]  # Keras on NumPy 2


@pytest.mark.parametrize("name", [pytest.param(n, marks=FRAMEWORK if n in ("Keras", "JAX") else []) for n in SECTIONS])
def test_the_guide(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    for code in blocks(SECTIONS[name], "python"):
        exec(code, {})
    WRITTEN.get(name, lambda: None)()
    for command in "".join(blocks(SECTIONS[name], "bash")).splitlines():
        run(*shlex.split(command)[1:])
