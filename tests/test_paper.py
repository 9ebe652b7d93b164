"""The paper's experiments at their smallest: rows, resuming, tables, and coresets that can be rebuilt."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from benchmarks.paper import training as paper_training  # noqa: E402
from benchmarks.paper.__main__ import main  # noqa: E402
from benchmarks.paper.cells import Cell  # noqa: E402
from benchmarks.paper.data import PAD, VARIANTS, load_dataset  # noqa: E402
from benchmarks.paper.experiments import EXPERIMENTS  # noqa: E402
from benchmarks.paper.networks import NETWORKS  # noqa: E402
from benchmarks.paper.results import Results  # noqa: E402
from benchmarks.paper.run import Workplace  # noqa: E402
from benchmarks.paper.run import run as run_cells  # noqa: E402
from benchmarks.paper.selection import _second, choose, recordings_of  # noqa: E402
from benchmarks.paper.settings import CPU, PAPER, QUICK, SCALES  # noqa: E402
from benchmarks.paper.summary import axes_of, half_width, is_begun  # noqa: E402
from benchmarks.paper.summary import values_of as values_of_table  # noqa: E402
from benchmarks.paper.training import Schedule, Training  # noqa: E402
from tdds import CoresetSelector, TDDSSelector, open_trajectory  # noqa: E402
from tdds.scores import make_score  # noqa: E402

QUICKLY = ["--scale", "quick", "--seeds", "0", "1", "2", "--rates", "0.9", "--epochs", "1"]
N_DIGITS = 1437


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One experiment, run to its end."""
    folder = tmp_path_factory.mktemp("paper")
    run("decay", folder)
    return folder


def run(experiment, folder, results="results.jsonl", *more):
    main(["run", experiment, *QUICKLY, "--runs", str(folder / "runs"), "--results", str(folder / results), *more])


def rows_of(folder, results="results.jsonl"):
    return [json.loads(line) for line in (folder / results).read_text().splitlines()]


def recording_of(folder):
    (path,) = (folder / "runs").glob("digits-clean-*/tiny-*-seed0/run")
    return path


def test_rows_say_what_was_run(folder):
    full, *rows = rows_of(folder)
    assert full["method"] == "full"
    assert len(full["accuracies"]) == QUICK.recording.epochs
    assert full["accuracy"] == full["accuracies"][-1] > 0.5
    assert len(rows) == 2 * 2 * 2 * 3  # formulations, weightings, decays, seeds
    for row in rows:
        assert (row["scale"], row["dataset"], row["method"], row["pruning_rate"]) == ("quick", "digits", "tdds", 0.9)
        assert (row["n_train"], row["n_kept"], row["steps"]) == (N_DIGITS, 144, 9)
        assert 0 < row["accuracy"] < 1
        assert row["seconds"] > 0
        assert row["versions"]["torch"] == torch.__version__
    assert {row["training"]["weight_decay"] for row in rows} == {5e-4, 7e-4}


def test_running_again_skips_what_is_done(folder, monkeypatch):
    before = (folder / "results.jsonl").read_bytes()
    monkeypatch.setattr(Training, "epoch", lambda *_: pytest.fail("trained again"))
    run("decay", folder)
    assert (folder / "results.jsonl").read_bytes() == before


def test_a_crash_loses_one_training_run(folder, monkeypatch):
    monkeypatch.setattr(Training, "test", fails_at(3, Training.test))
    with pytest.raises(RuntimeError, match="power cut"):
        run("decay", folder, "crashed.jsonl")
    monkeypatch.undo()
    survivors = rows_of(folder, "crashed.jsonl")
    assert len(survivors) == 1 + 2
    with (folder / "crashed.jsonl").open("a") as file:
        file.write('{"dataset": "dig')  # a line cut short
    run("decay", folder, "crashed.jsonl")
    rows = rows_of(folder, "crashed.jsonl")
    assert rows[:3] == survivors
    outcome = [(Cell.of(row).key, row["accuracy"], row["coreset_sha256"]) for row in rows]
    assert outcome == [(Cell.of(row).key, row["accuracy"], row["coreset_sha256"]) for row in rows_of(folder)]


def test_a_recording_that_was_cut_off_goes_on(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(Training, "test", fails_at(4, Training.test))  # the epoch is recorded, its checkpoint is not
    with pytest.raises(RuntimeError, match="power cut"):
        run("decay", tmp_path)
    monkeypatch.undo()
    assert open_trajectory(recording_of(tmp_path)).n_epochs == 4
    run("decay", tmp_path)
    np.testing.assert_array_equal(values_of(recording_of(tmp_path)), values_of(recording_of(folder)))


def values_of(path):
    trajectory = open_trajectory(path)
    values = np.empty((trajectory.n_samples, trajectory.n_epochs, trajectory.n_classes), trajectory.dtype)
    with trajectory.reader() as read:
        read(0, trajectory.n_samples, 0, values)
    return values


def fails_at(call, method):
    n_calls = 0

    def failing(*arguments):
        nonlocal n_calls
        n_calls += 1
        if n_calls == call:
            raise RuntimeError("power cut")
        return method(*arguments)

    return failing


def test_a_coreset_is_rebuilt_from_its_row(folder):
    lines = {row["parameters"].get("formulation", "paper"): n for n, row in enumerate(rows_of(folder)[1:], start=2)}
    for formulation, line in lines.items():
        output = folder / "coreset.npy"
        main(
            [
                "rebuild",
                str(line),
                "-o",
                str(output),
                "--runs",
                str(folder / "runs"),
                "--results",
                str(folder / "results.jsonl"),
            ]
        )
        indices = np.load(output)
        selector = TDDSSelector(T=6, K=4, pruning_rate=0.9, formulation=formulation).fit(recording_of(folder))
        np.testing.assert_array_equal(indices, selector.sample_indices_)
        assert (
            hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest() == rows_of(folder)[line - 1]["coreset_sha256"]
        )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["run", "fig4", "--scale", "cpu", "--rates", "0.8"],
            r"cpu has no T and K of cifar10 at 0\.8; expected 0\.5",
        ),
        (["run", "fig4", "--scale", "cpu", "--datasets", "digits"], r"cpu has no T and K of digits at .*expected none"),
        (["rebuild", "99999", "-o", "x.npy"], r"Line 99999 is not there: "),
    ],
)
def test_what_cannot_be_asked_for(arguments, text, folder):
    with pytest.raises(SystemExit, match=text):
        main([*arguments, "--results", str(folder / "results.jsonl")])


def test_a_line_cut_short_stays_until_one_is_added(folder, tmp_path):
    path = tmp_path / "cut.jsonl"
    first, second = (folder / "results.jsonl").read_bytes().splitlines()[:2]
    path.write_bytes(first + b"\n" + second)
    results = Results(path)
    assert path.read_bytes() == first + b"\n" + second
    for _ in range(2):
        results.append(json.loads(second))
    assert path.read_bytes().splitlines() == [first, second, second]


def test_a_paired_table_takes_the_seeds_that_all_of_it_has(folder):
    kept = [row for row in rows_of(folder)[1:] if row["seed"] == 0 or row["weighting"] == "none"]
    (folder / "fewer.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    scale = replace(QUICK, rates=(0.9,), training=replace(QUICK.training, epochs=1))
    for paired, numbers in ((True, {1}), (False, {1, 3})):
        values = values_of_table(
            replace(EXPERIMENTS["decay"], paired=paired), "digits", scale, Results(folder / "fewer.jsonl")
        )
        assert {len(found) for found in values.values()} == numbers


def test_another_recording_is_not_taken_for_that_of_the_row(folder, tmp_path):
    row = rows_of(folder)[1] | {"coreset_sha256": "0" * 64}
    (tmp_path / "results.jsonl").write_text(json.dumps(row) + "\n")
    asked = ["rebuild", "1", "-o", str(tmp_path / "x.npy"), "--runs", str(folder / "runs")]
    with pytest.raises(SystemExit, match=r"its trajectory was recorded anew"):
        main([*asked, "--results", str(tmp_path / "results.jsonl")])


def test_tables_and_pictures(folder, tmp_path):
    main(["tables", *QUICKLY, "--results", str(folder / "results.jsonl"), "-o", str(tmp_path / "quick.md")])
    text = (tmp_path / "quick.md").read_text()
    found = [
        100 * row["accuracy"]
        for row in rows_of(folder)[1:]
        if row["weighting"] == "none"
        and not row["parameters"].get("formulation")
        and row["training"]["weight_decay"] == 5e-4
    ]
    low, _ = stats.t.interval(0.95, 2, np.mean(found), stats.sem(found))
    section = text[text.index(EXPERIMENTS["decay"].title) :].split("\n## ")[0]
    (line,) = (line for line in section.splitlines() if line.startswith("| tdds |"))
    assert line.split("|")[2].replace("*", "").strip() == f"{np.mean(found):.1f} ± {np.mean(found) - low:.1f}"
    assert "`decay`: 8 of 8 places of the table, 3 runs each." in section
    assert (tmp_path / "images" / "quick-decay-digits.png").stat().st_size > 5000


def test_scores_of_several_recordings_are_averaged_and_coresets_compared(folder, monkeypatch):
    monkeypatch.setattr(Training, "epoch", only_if_recorded(Training.epoch))
    scale = replace(QUICK, seeds=(0,), rates=(0.9,), recordings=(0, 1))
    run_cells(
        EXPERIMENTS["noise_floor"].cells(scale), Workplace(scale, folder / "runs"), Results(folder / "floor.jsonl")
    )
    rows = {
        (row["method"], *row["recordings"]): row for row in rows_of(folder, "floor.jsonl") if row["sampler"] == "top"
    }
    paths = [next((folder / "runs").glob(f"digits-clean-*/tiny-*-seed{seed}/run")) for seed in (0, 1)]
    alone = [CoresetSelector("dyn_unc", pruning_rate=0.9, K=4).fit(path) for path in paths]
    both = np.sort(np.argsort(-np.mean([one.scores_ for one in alone], axis=0), kind="stable")[:144])
    assert rows["dyn_unc", 0, 1]["coreset_sha256"] == hashlib.sha256(both.astype("<i8")).hexdigest()
    assert rows["dyn_unc", 1]["shared"] == (alone[0].support_ & alone[1].support_).sum() / 144
    assert "shared" not in rows["dyn_unc", 0]


def test_moderate_reads_the_features_of_the_trained_network(folder, tmp_path, capsys):
    """And is left out, with a word, where a recording made by an earlier version has none."""
    label = ("--only", "moderate", "aum", "--seeds", "0", "--recordings", "0", "1")
    run("overlap", folder, "moderate.jsonl", *label)
    (row,) = (row for row in rows_of(folder, "moderate.jsonl") if row["method"] == "moderate")
    paths = [next((folder / "runs").glob(f"digits-clean-*/tiny-*-seed{seed}")) for seed in (0, 1)]
    features = [np.load(path / "features.npy") for path in paths]
    assert {one.shape for one in features} == {(N_DIGITS, 16)}
    kept = [
        CoresetSelector("moderate", pruning_rate=0.9).fit(path / "run", features=of_path).support_
        for path, of_path in zip(paths, features, strict=True)
    ]
    assert row["coreset_sha256"] == hashlib.sha256(np.flatnonzero(kept[1]).astype("<i8")).hexdigest()
    assert row["shared"] == (kept[0] & kept[1]).sum() / 144

    (paths[0] / "features.npy").rename(tmp_path / "features.npy")
    run("overlap", folder, "older.jsonl", *label)
    (tmp_path / "features.npy").rename(paths[0] / "features.npy")
    assert "moderate left out" in capsys.readouterr().out
    assert {row["method"] for row in rows_of(folder, "older.jsonl")} == {"full", "aum"}


def test_features_are_of_the_images_as_they_are():
    digits = load_dataset("digits", None)
    training = Training("tiny", digits, Schedule(1, 32, 0.1), 0)
    *_, linear = training.model
    training.model.eval()
    some = torch.arange(0, N_DIGITS, 100)
    with torch.no_grad():
        centred = digits.normalise(digits.images[some, PAD:-PAD, PAD:-PAD])
        torch.testing.assert_close(linear(training.features()[some]), training.model(centred))


def only_if_recorded(epoch):
    """Training on a coreset is not what is looked at."""
    return lambda training, on_batch=None: on_batch is not None and epoch(training, on_batch)


def test_opposite_ends_do_not_overlap_and_random_needs_no_recording(folder):
    work = Workplace(QUICK, folder / "runs")
    cells = [cell for cell in EXPERIMENTS["table1"].cells(replace(QUICK, seeds=(0,))) if cell.pruning_rate == 0.9]
    dataset = work.load(cells[0])
    coresets = choose(cells, dataset, work.folders(cells, dataset))
    turned = [cell for cell in cells if cell.end == "opposite"]
    assert len(turned) > 8
    for cell in turned:
        ends = (set(coresets[replace(cell, end=end).key].indices) for end in ("kept", "opposite"))
        assert not set.intersection(*ends), cell.label()
    assert {len(coreset.indices) for coreset in coresets.values()} == {144}
    (chance,) = (cell for cell in cells if cell.method == "random")
    assert recordings_of(chance) == []
    assert replace(chance, recordings=(1,), recorded_network="small").key == chance.key


def test_a_coreset_has_the_weights_that_are_asked_for(folder):
    work = Workplace(QUICK, folder / "runs")
    cells = [cell for cell in EXPERIMENTS["decay"].cells(replace(QUICK, seeds=(0,))) if cell.pruning_rate == 0.9]
    dataset = work.load(cells[0])
    coresets = choose(cells, dataset, work.folders(cells, dataset))
    weighted = {cell.weighting: np.unique(coresets[cell.key].weights).size > 1 for cell in cells}
    assert len(weighted) > 1
    assert weighted == {weighting: weighting != "none" for weighting in weighted}


def test_the_draw_of_dual_looks_at_the_epochs_of_dual():
    cell = replace(next(iter(EXPERIMENTS["table1"].cells(PAPER))), method="dual", sampler="beta", parameters={"K": 10})
    assert _second(cell) == make_score("confidence", default_T=30)
    assert _second(replace(cell, parameters={"T": 60})) == make_score("confidence", T=60, default_T=30)
    assert _second(replace(cell, sampler="top")) is None


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_of_every_scale_is_well_formed(name, scale):
    cells = list(EXPERIMENTS[name].cells(scale))
    assert cells
    for cell in cells:
        assert Cell.of(json.loads(json.dumps(asdict(cell)))).key == cell.key
        assert {cell.network, cell.recorded_network} <= set(NETWORKS)
        assert cell.variant in VARIANTS
        EXPERIMENTS[name].place(cell, scale)


def test_the_budget_in_steps_shows_as_many_images_as_all_data_do():
    cells = list(EXPERIMENTS["table2"].cells(replace(PAPER, rates=(0.5, 0.9), seeds=(0,))))
    assert {(cell.pruning_rate, cell.training.epochs, cell.training.batch) for cell in cells} == {
        (0.5, 400, 128),
        (0.9, 2000, 32),
    }


def test_learning_rates_are_those_of_the_scale():
    assert {cell.training.lr for cell in EXPERIMENTS["weights"].cells(CPU)} == {0.05, 0.025, 0.0125}


def test_crops_are_windows_of_the_padded_image_and_digits_are_not_mirrored():
    digits = load_dataset("digits", None)
    samples = torch.arange(0, 100)
    for dataset, mirrors in ((digits, False), (replace(digits, name="cifar10"), True)):
        crops = dataset.crops(samples, torch.Generator().manual_seed(0))
        assert crops.is_contiguous(memory_format=torch.channels_last)
        mirrored = 0
        for sample, crop in zip(samples, crops, strict=True):
            padded = dataset.normalise(dataset.images[sample][None])[0]
            windows = padded.unfold(1, 32, 1).unfold(2, 32, 1).permute(1, 2, 0, 3, 4)
            assert windows.shape[:2] == (2 * PAD + 1, 2 * PAD + 1)
            plain, turned = ((windows == one).all(dim=(2, 3, 4)).any() for one in (crop, crop.flip(2)))
            assert plain or (turned and mirrors)
            mirrored += bool(turned and not plain)
        assert (mirrored > 25) == mirrors


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name):
    network = NETWORKS[name](7)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert any(module.shortcut is not None for module in network if hasattr(module, "shortcut")) == (
        "plain" not in name
    )


def test_resnet18_is_the_usual_one():
    assert sum(parameter.numel() for parameter in NETWORKS["resnet18"](10).parameters()) == 11_173_962


def test_weights_scale_the_loss_of_their_samples():
    """A weight of 0 everywhere but for one sample trains on that sample alone."""
    digits = load_dataset("digits", None)
    schedule = Schedule(1, 4, 0.1, weight_decay=0.0)
    weights = np.array([0.0, 0.0, 4.0, 0.0])
    weighted = Training("tiny", digits, schedule, 0, np.arange(4), weights, "per_sample")
    weighted.epoch()
    untouched = Training("tiny", digits, schedule, 0, np.arange(4), np.zeros(4), "per_sample")
    before = [parameter.clone() for parameter in untouched.model.parameters()]
    untouched.epoch()
    assert all(torch.equal(*pair) for pair in zip(before, untouched.model.parameters(), strict=True))
    assert not all(torch.equal(*pair) for pair in zip(before, weighted.model.parameters(), strict=True))


def test_schedules():
    digits = load_dataset("digits", None)
    for shape, first, last in (("cosine", 0.1, 0.0), ("one_cycle", 0.1 / 25, 0.0)):
        run_of_it = Training("tiny", digits, Schedule(2, 10, 0.1, shape), 0, np.arange(95))
        assert run_of_it.schedule.steps(95) == 20
        rates = [run_of_it.scheduler.get_last_lr()[0]]
        for _ in range(2):
            run_of_it.epoch()
        assert rates[0] == pytest.approx(first)
        assert run_of_it.scheduler.get_last_lr()[0] == pytest.approx(last, abs=1e-5)


def test_interval():
    values = [61.0, 64.0, 62.5]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert half_width(values) == pytest.approx((high - low) / 2)
    assert half_width(values[:2]) == 0


def test_methods_come_best_first_and_chance_begins_no_table():
    experiment = SimpleNamespace(rows="label", columns="pruning_rate")
    values = {("random", 0.9): [55.0], ("aum", 0.5): [80.0], ("aum", 0.9): [50.0], ("tdds", 0.9): [60.0, 62.0]}
    empty = {("el2n", 0.5): [], ("random", 0.7): [70.0]}
    assert axes_of(values | empty, experiment) == (["tdds", "random", "aum"], [0.5, 0.9])
    assert is_begun(values, experiment)
    assert not is_begun(values | {("tdds", 0.9): []}, experiment)


@pytest.mark.parametrize(
    ("variant", "n_spoiled"), [("corrupted", 5 * round(0.04 * N_DIGITS)), ("label_noise", round(0.2 * N_DIGITS))]
)
def test_a_fifth_is_spoiled(variant, n_spoiled):
    clean, spoiled = load_dataset("digits", None), load_dataset("digits", None, variant=variant)
    changed = (clean.images != spoiled.images).flatten(1).any(1) | (clean.labels != spoiled.labels)
    assert len(spoiled.spoiled) == n_spoiled
    assert set(np.flatnonzero(changed)) <= set(spoiled.spoiled)
    assert changed.sum() > 0.75 * len(spoiled.spoiled)  # digits are of low resolution already, and dark at the edges
    assert clean.sha256 != spoiled.sha256
    assert torch.equal(clean.test_images, spoiled.test_images)


def test_one_variant_alone(tmp_path):
    run("table9", tmp_path, "results.jsonl", "--variants", "label_noise", "--only", "random")
    rows = rows_of(tmp_path)
    assert len(rows) == len(QUICK.seeds)
    assert {row["variant"] for row in rows} == {"label_noise"}
    assert all(0.1 < row["spoiled_share"] < 0.3 for row in rows)


def test_data_that_is_missing_is_asked_for(tmp_path):
    asked = [
        "run",
        "decay",
        *QUICKLY,
        "--datasets",
        "cifar10",
        "--runs",
        str(tmp_path),
        "--results",
        str(tmp_path / "r"),
    ]
    with pytest.raises(SystemExit, match=r"pass --data cifar10=PATH"):
        main(asked)
    with pytest.raises(SystemExit, match=r"Download"):
        main([*asked, "--data", f"cifar10={tmp_path / 'absent.tar.gz'}"])


def test_a_label_that_no_run_has_is_an_error(tmp_path):
    with pytest.raises(SystemExit, match=r"--only \['tdsd'\]; expected of \['tdds, T=6, K=4'"):
        run("decay", tmp_path, "results.jsonl", "--only", "tdsd")


def test_precision_is_bf16_only_where_the_hardware_has_it():
    assert paper_training.precision("cuda") == "bf16"
    assert (paper_training.precision("cpu") == "bf16") == ("avx512_bf16" in Path("/proc/cpuinfo").read_text())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_on_a_gpu(tmp_path):
    run("decay", tmp_path, "results.jsonl", "--device", "cuda", "--compile", "--jobs", "2")
    full, *rows = rows_of(tmp_path)
    assert full["accuracy"] > 0.5
    assert len(rows) == 2 * 2 * 2 * 3
    assert {(row["device"], row["precision"], row["compiled"]) for row in rows} == {("cuda", "bf16", True)}
