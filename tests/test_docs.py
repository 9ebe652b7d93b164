"""The pages: their links lead somewhere, their examples run, and they build without a warning."""

import doctest
import os
import re
import shlex
import subprocess
import sys
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import checks
import equations
import joblib
import numpy as np
import pytest
from sklearn.datasets import load_digits
from typer.testing import CliRunner

import tdds
from tdds.cli.commands import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def text_of(page):
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    headings = re.findall(r"^#+ (.+)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page):
    for file, anchor in LINK.findall(text_of(page)):
        target = page.parent / file if file else page
        assert target.exists(), file
        assert not anchor or anchor in anchors(target), f"{file}#{anchor}"


@pytest.mark.parametrize("name", ["quickstart", "equations", "extending", "scikit-learn"])
def test_examples(name, tmp_path, monkeypatch):
    if name == "scikit-learn":
        pytest.importorskip("imblearn")
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(ROOT / "docs" / f"{name}.md"), module_relative=False)
    assert result.attempted > 5
    assert result.failed == 0


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts_that_a_page_tells_to_run_are_there(page):
    for script in re.findall(r"python ((?:benchmarks|data_tools|docs|examples)/\w+\.py)", page.read_text()):
        assert (ROOT / script).exists(), script


# ------------------------------------------------------------------------------------------------- shell commands


@pytest.fixture
def logs(tmp_path, monkeypatch):
    """A folder where the names that the pages use stand for something; it is the current one."""
    monkeypatch.chdir(tmp_path)
    logits, labels = checks.logged("logits", (60, 30, 5), dtype=np.float32)
    for name in ("LOGS", "logs", "seed0", "seed1"):
        checks.write_directory(Path(name), logits, "logits")
    np.save("logits.npy", logits)
    np.save("labels.npy", labels)
    np.savez("data.npz", images=np.zeros((60, 8, 8), np.uint8), labels=labels)


@pytest.mark.parametrize("name", ["README", "docs/quickstart", "docs/choosing", "docs/formulations", "docs/commands"])
def test_commands(name, logs):
    text = "".join(blocks((ROOT / f"{name}.md").read_text(), "bash"))
    for command in re.findall(r"^tdds .*$", text, flags=re.MULTILINE):
        if not command.startswith("tdds demo"):  # tests/test_cli.py runs it
            done = CliRunner().invoke(app, shlex.split(command, comments=True)[1:], catch_exceptions=False)
            assert done.exit_code == 0, f"{command}\n{done.output}"


# ----------------------------------------------------------------------------------------------- docs/recording.md

RECORDING = {
    section.split("\n", 1)[0]: section
    for section in (ROOT / "docs" / "recording.md").read_text().split("\n## ")[1:]
    if "```python" in section
}
N_SAMPLES, N_EPOCHS = 60, 10


def digits():
    X, y = load_digits(return_X_y=True)
    return X[:N_SAMPLES].astype("float32") / 16, y[:N_SAMPLES]


def torch_names():
    torch = pytest.importorskip("torch")
    import torch.utils.data as data

    from tdds.torch import IndexedDataset, TrajectoryRecorder

    X, y = digits()
    dataset = data.TensorDataset(torch.tensor(X), torch.tensor(y))
    dataset.targets = y
    return {
        "dataset": dataset, "model": torch.nn.Linear(64, 10), "device": "cpu", "DataLoader": data.DataLoader,
        "DistributedSampler": data.DistributedSampler, "IndexedDataset": IndexedDataset,
        "TrajectoryRecorder": TrajectoryRecorder, "cross_entropy": torch.nn.functional.cross_entropy,
        "train_and_test": lambda part, seed: len(part) / N_SAMPLES,
    }  # fmt: skip


@pytest.fixture
def process_group():
    """A group of one."""
    torch = pytest.importorskip("torch")
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def lightning_names():
    lightning = pytest.importorskip("lightning")
    import torch

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = torch.nn.Linear(64, 10)

        def forward(self, x):
            return self.network(x)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    quiet = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    return torch_names() | {"LightningModule": Module, "Trainer": partial(lightning.Trainer, **quiet)}


def transformers_names():
    transformers, datasets = pytest.importorskip("transformers"), pytest.importorskip("datasets")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=17, num_labels=10, max_position_embeddings=64, **sizes)
    X, y = digits()
    quiet = {"report_to": [], "disable_tqdm": True, "use_cpu": True, "dataloader_pin_memory": False}
    return {
        "train": datasets.Dataset.from_dict({"input_ids": (X * 16).astype(int).tolist(), "labels": y.tolist()}),
        "model": transformers.BertForSequenceClassification(config),
        "TrainingArguments": partial(transformers.TrainingArguments, **quiet),
        "Trainer": transformers.Trainer,
    }


def keras_names():
    keras = pytest.importorskip("keras")
    x, y = digits()
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, activation="softmax")])
    model.compile(loss="sparse_categorical_crossentropy")
    return {"x": x, "y": y, "model": model}


def jax_names():
    jax = pytest.importorskip("jax")
    X, y = digits()

    def loss(params, x, y):
        logits = x @ params
        return -jax.nn.log_softmax(logits)[np.arange(len(y)), y].mean(), logits

    step = jax.value_and_grad(loss, has_aux=True)
    return {"X": X, "y": y, "params": np.zeros((64, 10), np.float32), "value_and_grad": step, "n_batches": 4}


def sklearn_names():
    from sklearn.linear_model import SGDClassifier

    X, y = digits()
    return {"X": X, "y": y, "classes": np.unique(y), "network": SGDClassifier(loss="log_loss")}


def online_names():
    return torch_names() | {"probs": np.full((N_SAMPLES, 10), 0.1)}


FOREIGN = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ("PyTorch", torch_names),
        ("Several processes", torch_names),
        pytest.param("Lightning", lightning_names, marks=FOREIGN),
        pytest.param("Hugging Face's Trainer", transformers_names, marks=FOREIGN),
        pytest.param("Keras", keras_names, marks=FOREIGN),
        pytest.param("JAX", jax_names, marks=FOREIGN),
        ("scikit-learn", sklearn_names),
        ("Scores without a trajectory", online_names),
    ],
)
def test_recording(section, names, tmp_path, monkeypatch, request):
    """Each block of the page runs with the names that it takes for granted, and records what it says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "jax"))
    if section == "Several processes":
        request.getfixturevalue("process_group")
    given = {"np": np, "tdds": tdds, "n_epochs": N_EPOCHS, "rng": np.random.default_rng(0)} | names()
    for code in blocks(RECORDING[section], "python"):
        exec(code, given)
    if section == "Scores without a trajectory":
        assert given["selector"].scores_.shape == given["scores"].shape == (N_SAMPLES,)
        return
    trajectory = tdds.open_trajectory("run")
    assert (trajectory.n_samples, trajectory.n_classes) == (N_SAMPLES, 10)
    assert trajectory.n_epochs == (30 if section in ("Lightning", "Keras") else N_EPOCHS)
    assert tdds.score_trajectory("run", K=5).shape == (N_SAMPLES,)


def test_every_section_on_recording_is_run():
    (run,) = [mark for mark in test_recording.pytestmark if mark.name == "parametrize"]
    assert [getattr(case, "values", case)[0] for case in run.args[1]] == list(RECORDING)


# ------------------------------------------------------------------------- docs/methods.md and docs/scaling.md


def only_blocks(name):
    """The blocks of a page, all of them Python: a test that unpacks them runs every one."""
    text = (ROOT / "docs" / f"{name}.md").read_text()
    assert set(re.findall(r"^```(\w+)", text, flags=re.MULTILINE)) == {"python"}
    return blocks(text, "python")


def test_methods():
    several, moderate, samplers, own = only_blocks("methods")
    probs, y = checks.logged("probs", (60, 30, 5))
    features = np.random.default_rng(0).normal(size=(60, 4))
    given = {"tdds": tdds, "trajectory": probs, "y": y, "features": features}
    exec(several, given)
    assert set(given["scores"]) == {"tdds", "aum", "dual"}
    margins = checks.judged("aum", probs, y, "probs")
    np.testing.assert_array_equal(given["selector"].sample_indices_, np.sort(np.argsort(margins)[:6]))
    exec(moderate, given)
    np.testing.assert_allclose(given["selector"].scores_, equations.moderate(features, y), rtol=1e-12)
    exec(samplers, given)
    scores = equations.tdds(probs, K=5)
    given["scores"] = np.array(scores)
    exec(own, given)
    assert given["kept"].tolist() == equations.top(scores, 0.9)


@pytest.fixture
def shared_run(tmp_path):
    """What turns a block of docs/scaling.md to files that are there, and the scores of these."""
    values, _ = checks.logged("probs", (60, 30, 5))
    (tmp_path / "packed").mkdir()
    checks.write_packed(tmp_path / "run.h5", values, "probs")
    for part in range(3):
        checks.write_packed(tmp_path / "packed" / f"part-{part}.h5", values[20 * part : 20 * part + 20], "probs")

    def here(code):
        assert '"/shared/' in code
        return code.replace('"/shared/', f'"{tmp_path}/')

    return here, tdds.score_trajectory(values, T=30, K=10)


def test_scaling_to_dask(shared_run):
    distributed = pytest.importorskip("dask.distributed")
    here, expected = shared_run
    dask, _, _ = only_blocks("scaling")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        cluster.wait_for_workers(2)
        assert "scheduler:8786" in dask
        given = {}
        exec(here(dask).replace("scheduler:8786", cluster.scheduler_address), given)
        given["client"].close()
    np.testing.assert_array_equal(given["scores"], expected)


@pytest.mark.cluster
@pytest.mark.filterwarnings("default")
def test_scaling_to_ray(shared_run, monkeypatch):
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    here, expected = shared_run
    _, code, _ = only_blocks("scaling")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    given = {"joblib": joblib, "tdds": tdds}
    try:
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        exec(here(code), given)
    finally:
        ray.shutdown()
        cluster.shutdown()
    np.testing.assert_array_equal(given["scores"], expected)


def test_scaling_to_many_files(shared_run):
    here, expected = shared_run
    _, _, files = only_blocks("scaling")
    given = {}
    exec(here(files), given)
    np.testing.assert_array_equal(given["scores"], expected)


# -------------------------------------------------------------------------------------------------------- the site


class Links(HTMLParser):
    """The ids of a page, and where its links and pictures lead."""

    def __init__(self, page):
        super().__init__()
        self.ids, self.links = {""}, set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.add(attrs.get("id") or "")
        self.links |= {attrs[name] for name in ("href", "src") if attrs.get(name)}


@pytest.mark.docs
def test_site_builds(tmp_path):
    pytest.importorskip("sphinx_gallery")
    options = ["-W", "--keep-going", "-q", "-b", "html"]
    command = [sys.executable, "-m", "sphinx", *options, ROOT / "docs", tmp_path]
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # the gallery's networks are small
    done = subprocess.run(command, env=os.environ | one_thread, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {page: Links(page) for page in tmp_path.rglob("*.html")}
    assert sum("plot_" in page.name for page in pages) >= 8  # the gallery
    for page, held in pages.items():
        for link in held.links:
            place = urlsplit(link)
            if place.scheme or place.netloc:
                assert place.scheme in ("https", "data"), f"{page.name}: {link}"
                continue
            target = (page.parent / unquote(place.path)).resolve() if place.path else page
            assert target.exists(), f"{page.name}: {link}"
            if target in pages and "_modules" not in page.parts:  # viewcode gives each module one name to link back by
                assert unquote(place.fragment) in pages[target].ids, f"{page.name}: {link}"
