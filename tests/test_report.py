"""The report: what the page holds, that nothing in a file can harm it, and, marked `browser`, how it behaves."""

import base64
import csv
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import equations
import numpy as np
import pytest
from test_cli import run

from tdds import TrajectoryError, open_trajectory
from tdds.engine import compute_scores
from tdds.samplers import count_kept, preference, top
from tdds.scores import make_score
from tdds.tables import ScoreTable

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("jinja2")
from tdds.report import Images, Rows, write_report  # noqa: E402

RNG = np.random.default_rng(0)
N, T, C = 90, 8, 3
PROBS = equations.softmax(RNG.normal(size=(N, T, C)).cumsum(axis=1))
LABELS = np.arange(N) % C
HOSTILE = "</script><script>document.title = 'harmed'</script>"
NAMES = ["ant", HOSTILE, 'cow" onload="alert(1)']


def make_table(**changes):
    fields = {
        "scores": {"tdds": equations.tdds(PROBS, K=3), "aum": np.array(equations.aum(PROBS, LABELS))},
        "keeps": {"tdds": "largest", "aum": "smallest"},
        "parameters": {"tdds": {"T": None, "K": 3, "beta": 0.9}, "aum": {"T": None}},
        "source": {
            "source": "logs & more", "n_samples": N, "n_epochs": T, "n_classes": C, "n_epochs_read": T,
            "fingerprint": open_trajectory(PROBS).fingerprint(T), "command": "tdds score logs -o scores.h5",
        },
        "labels": LABELS,
    }  # fmt: skip
    return ScoreTable(**(fields | changes))


@pytest.fixture
def images(tmp_path):
    """An .npz of grey images, the sample's number in every pixel."""
    path = tmp_path / "data.npz"
    pixels = np.broadcast_to(np.arange(N, dtype=np.uint8)[:, None, None], (N, 8, 8))
    np.savez(path, images=pixels, labels=LABELS, class_names=NAMES)
    return path


class Page(HTMLParser):
    """What a page holds: its tags with attributes, its texts, and the content of its scripts."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.texts, self.scripts, self._within = [], [], [], ""
        self.source = path.read_text()
        self.feed(self.source)
        self.data = json.loads(self.scripts[0])
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._within = tag

    def handle_data(self, data):
        {"script": self.scripts, "style": []}.get(self._within, self.texts).append(data)

    def handle_endtag(self, tag):
        self._within = ""

    def images(self):
        """The first pixel of each thumbnail, which is the sample's number, and its description."""
        for tag, attributes in self.tags:
            if tag == "img":
                held = io.BytesIO(base64.b64decode(attributes["src"].split(",")[1]))
                yield np.asarray(Image.open(held)).flat[0], attributes["alt"]


def report(tmp_path, table=None, **options):
    write_report(table or make_table(), tmp_path / "report.html", **options)
    return Page(tmp_path / "report.html")


@pytest.mark.parametrize("name", ["tdds", "aum"])
def test_the_slider_keeps_what_select_keeps(tmp_path, name):
    table = make_table()
    table.scores["tdds"][10:20] = table.scores["tdds"][5]  # ties
    page = report(tmp_path, table)
    live = page.data["methods"][name]
    ranked, bins = (np.frombuffer(base64.b64decode(live[what]), dtype=np.uint8) for what in ("classes", "bins"))
    preferred = preference(table.scores[name], table.keeps[name])
    for step in range(1000):
        n_kept = count_kept(N, step / 1000)
        kept = top(preferred, n_kept)
        assert page.data["kept"][step] == n_kept
        np.testing.assert_array_equal(np.bincount(ranked[:n_kept], minlength=C), np.bincount(LABELS[kept], minlength=C))
        at_threshold = preferred == preferred[kept].min()
        assert live["tied"][step] == (at_threshold.sum() > at_threshold[kept].sum())
        assert live["thresholds"][step] == f"{-preferred[kept].min() if name == 'aum' else preferred[kept].min():.4g}"
    order = np.argsort(-preferred, kind="stable")
    assert (np.diff(bins[np.argsort(table.scores[name][order])].astype(int)) >= 0).all()
    assert page.data["kept"][290] == N - 26  # 0.29 of 90 removes 26


def test_ends_of_each_class_are_shown(tmp_path, images):
    page = report(tmp_path, samples=Images(images))
    shown = [(int(pixel), alt) for pixel, alt in page.images()]
    assert all(alt == f"Sample {pixel}, {NAMES[LABELS[pixel]]}" for pixel, alt in shown)
    expected = []
    for name in ("tdds", "aum"):
        order = np.argsort(-preference(make_table().scores[name], make_table().keeps[name]), kind="stable")
        for c in range(C):
            own = order[LABELS[order] == c]
            expected += [*own[:6], *own[::-1][:6]]
    suspects = np.argsort(make_table().scores["aum"])[:24]
    assert [pixel for pixel, _ in shown] == [*expected, *suspects]


def test_what_was_scored_and_how(tmp_path):
    page = report(tmp_path, name="my scores.h5", pruning_rate=0.7)
    for text in ("logs & more", "90 samples, 8 epochs, 3 classes", "T=all, K=3, beta=0.9, the largest are kept"):
        assert text in page.text
    assert make_table().source["fingerprint"] in page.text
    assert "27 of 90 samples are kept" in page.text
    assert "tdds score logs -o scores.h5 tdds select 'my scores.h5' --method tdds --pruning-rate 0.7" in page.text


def test_nothing_from_a_file_is_markup_and_nothing_is_fetched(tmp_path, images):
    source = make_table().source | {"source": HOSTILE, "command": HOSTILE}
    page = report(tmp_path, make_table(source=source), samples=Images(images), name=HOSTILE, command=HOSTILE)
    assert sum(tag == "script" for tag, _ in page.tags) == 2
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.data["file"].strip("'").startswith("</script>")
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy
    linked = [value for _, a in page.tags for name, value in a.items() if name in ("src", "href", "action")]
    assert all(link.startswith(("data:", "#")) for link in linked)
    assert not re.findall(r"https?://|@import|url\(", page.source)


def test_every_control_and_image_has_a_name(tmp_path, images):
    page = report(tmp_path, samples=Images(images), trajectory=open_trajectory(PROBS))
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for tag, attributes in page.tags:
        if tag == "img":
            assert attributes["alt"]
        for name in ("aria-labelledby", "aria-describedby", "for"):
            assert attributes.get(name, next(iter(ids))) in ids
    assert ("html", {"lang": "en"}) in page.tags
    assert ("label", {"class": "wide", "for": "rate"}) in page.tags


def test_suspected_labels_come_from_the_best_score_there_is(tmp_path):
    assert "samples with the smallest aum score" in report(tmp_path).text
    tdds_only = {
        "scores": {"tdds": make_table().scores["tdds"]},
        "keeps": {"tdds": "largest"},
        "parameters": {"tdds": {"K": 3}},
    }
    assert "Labels to look at" not in report(tmp_path, make_table(**tdds_only)).text
    page = report(tmp_path, make_table(**tdds_only), trajectory=open_trajectory(PROBS))
    assert "samples with the smallest aum score" in page.text
    worst = int(np.argmin(equations.aum(PROBS, LABELS)))
    mean = PROBS[worst].mean(axis=0)
    said = f"{worst} labelled {LABELS[worst]} model says {mean.argmax()} ({mean.max():.0%})"
    assert said in page.text


def test_other_T_and_K(tmp_path):
    page = report(tmp_path, trajectory=open_trajectory(PROBS), pruning_rate=0.7)
    own = set(equations.top(equations.tdds(PROBS, K=3), 0.7))
    other = set(equations.top(equations.tdds(PROBS, T=5, K=3), 0.7))
    assert f"T=5 {100 * len(own & other) / 27:.0f}%" in page.text
    assert "T=8 100%" in page.text


def test_a_trajectory_too_short_for_a_window(tmp_path):
    trajectory = open_trajectory(PROBS[:, :2].copy())
    scores = {"entropy": np.array(equations.entropy(PROBS[:, :2]))}
    page = report(
        tmp_path,
        make_table(scores=scores, keeps={"entropy": "largest"}, parameters={"entropy": {}}, source={}),
        trajectory=trajectory,
    )
    assert "Other T and K" not in page.text
    assert trajectory.labels is None


def test_rows_of_a_table_and_lines_of_a_text(tmp_path):
    with open(tmp_path / "rows.csv", "w", newline="") as file:
        csv.writer(file).writerows([["age", "note"], *([i, f"<b>{'x' * 400}"] for i in range(N))])
    page = report(tmp_path, samples=Rows(tmp_path / "rows.csv"))
    best = int(np.argmax(make_table().scores["tdds"]))
    assert f"age {best} note <b>{'x' * 297} ... {best}" in page.text
    (tmp_path / "excel.csv").write_bytes("\ufeffage\r\n".encode() + b"7\r\n" * N + b"\r\n")
    assert f"age 7 {best}" in report(tmp_path, samples=Rows(tmp_path / "excel.csv")).text
    (tmp_path / "lines.txt").write_text("".join(f"sentence {i}\n" for i in range(N)))
    assert f"text sentence {best} {best}" in report(tmp_path, samples=Rows(tmp_path / "lines.txt")).text


def test_without_labels_or_samples(tmp_path):
    page = report(tmp_path, make_table(labels=None))
    assert "Classes before and after" not in page.text
    assert "Labels to look at" not in page.text
    assert page.data["methods"]["tdds"]["bins"]


@pytest.mark.parametrize(
    "scores",
    [
        np.zeros(N),
        np.r_[np.zeros(70), np.full(20, 0.3)],
        np.arange(N) % 2,
        np.r_[np.zeros(60), 0.2 + np.arange(30) / 60],
    ],
    ids=["constant", "two values", "counts", "within a decade"],
)
def test_scores_without_a_spread(tmp_path, scores):
    page = report(tmp_path, make_table(scores={"tdds": scores.astype(float)}))
    bars = [
        float(attributes["height"])
        for tag, attributes in page.tags
        if attributes.get("class") == "all" and tag == "rect"
    ]
    assert max(bars) == 100
    assert (np.array(bars) > 0).sum() >= min(3, len(np.unique(scores)))
    assert "nan" not in page.text


def test_a_pack_of_jpegs(tmp_path):
    files = []
    for i in range(N):
        held = io.BytesIO()
        Image.new("RGB", (300, 200) if i else (32, 32), (2 * i, 0, 0)).save(held, "jpeg")
        files.append(held.getvalue())
    offsets = np.cumsum([0, *map(len, files)])
    np.savez(
        tmp_path / "pack.npz",
        jpeg_train=np.frombuffer(b"".join(files), dtype=np.uint8), offsets_train=offsets, y_train=LABELS,
    )  # fmt: skip
    samples = Images(tmp_path / "pack.npz")
    small, large = (base64.b64decode(samples.show(i)["image"].split(",")[1]) for i in (0, 40))
    assert small == files[0]
    shown = Image.open(io.BytesIO(large))
    assert shown.size == (96, 64)
    assert abs(int(np.asarray(shown)[0, 0, 0]) - 80) < 4
    np.testing.assert_array_equal(samples.labels, LABELS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((N, 4, 4))}, "images are float64 of shape"),
        ({"images": np.zeros((N, 4, 4, 2), np.uint8)}, "expected uint8"),
        ({"images": np.zeros((5, 4, 4), np.uint8)}, f"cannot be read as images: {N} labels for 5 samples"),
        ({"images": np.zeros((5, 4, 4), np.uint8), "labels": None}, f"scores are of {N} samples, the data .* hold 5"),
        ({"labels": (LABELS + 1) % C}, "differ, first those of sample 0"),
        ({"class_names": ["ant"]}, "1 class_names, but there are 3 classes"),
        ({"images": None}, "expected 'images', or 'jpeg_train'"),
    ],
)
def test_data_that_do_not_fit(tmp_path, change, message):
    arrays = {"images": np.zeros((N, 4, 4), np.uint8), "labels": LABELS} | change
    np.savez(tmp_path / "data.npz", **{name: values for name, values in arrays.items() if values is not None})
    with pytest.raises(TrajectoryError, match=message):
        report(tmp_path, samples=Images(tmp_path / "data.npz"))
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [(b"no images", Images, r"data: is no \.npz file"), (b"\xff\xfe", Rows, "data: cannot be read as rows")],
)
def test_files_that_are_none(tmp_path, content, kind, message):
    (tmp_path / "data").write_bytes(content)
    with pytest.raises(TrajectoryError, match=message):
        kind(tmp_path / "data")
    with pytest.raises(FileNotFoundError):
        kind(tmp_path / "nothing")


def test_damaged_jpeg_is_named(tmp_path):
    pack = {"jpeg_train": np.zeros(N, np.uint8), "offsets_train": np.arange(N + 1), "y_train": LABELS}
    np.savez(tmp_path / "pack.npz", **pack)
    with pytest.raises(TrajectoryError, match=r"pack\.npz: cannot be read as images"):
        report(tmp_path, samples=Images(tmp_path / "pack.npz"))


def test_the_only_sample_of_a_class_is_shown_once(tmp_path, images):
    labels = np.where(np.arange(N) == 7, 1, 0)
    np.savez(images, images=np.load(images)["images"])
    page = report(tmp_path, make_table(labels=labels, scores={"tdds": RNG.random(N)}), samples=Images(images))
    assert [alt for _, alt in page.images()].count("Sample 7, 1") == 1


def test_class_names(tmp_path, images):
    (tmp_path / "names.txt").write_text("great white shark\nant\n7\n\n", encoding="utf-8")
    make_table().save(tmp_path / "scores.h5")
    arguments = ("--images", images, "--class-names", "names.txt", "-o", "report.html")
    assert run("report", "scores.h5", *arguments, cwd=tmp_path)[0] == 0
    page = Page(tmp_path / "report.html")
    names = ["great white shark", "ant", "7"]
    assert all(alt == f"Sample {pixel}, {names[LABELS[pixel]]}" for pixel, alt in page.images())
    run("report", "scores.h5", "--class-names", f"{images}::class_names", "-o", "again.html", cwd=tmp_path)
    assert HOSTILE in Page(tmp_path / "again.html").texts
    (tmp_path / "names.txt").write_text("ant\nbee\n", encoding="utf-8")
    status, _, err = run("report", "scores.h5", "--class-names", "names.txt", "-o", "r.html", cwd=tmp_path)
    assert (status, err) == (1, "tdds: 2 class_names, but there are 3 classes; expected one a class.\n")


def test_another_trajectory_is_refused(tmp_path):
    with pytest.raises(TrajectoryError, match="is not the trajectory that was scored"):
        report(tmp_path, trajectory=open_trajectory(PROBS[::-1].copy()))
    with pytest.raises(TrajectoryError, match="is not the trajectory that was scored"):
        report(tmp_path, trajectory=open_trajectory(PROBS[:, :5]))


def test_a_model_may_say_a_class_that_no_sample_is_of(tmp_path):
    probs = np.concatenate([PROBS / 10, np.full((N, T, 1), 0.9)], axis=2)
    page = report(tmp_path, make_table(source={}), trajectory=open_trajectory(probs))
    assert "3 (90%)" in page.text


def test_labels_beyond_two_bytes(tmp_path):
    labels = np.where(LABELS == 2, 65_536, LABELS)
    page = report(tmp_path, make_table(labels=labels))
    ranked = np.frombuffer(base64.b64decode(page.data["methods"]["tdds"]["classes"]), dtype=np.uint8)
    np.testing.assert_array_equal(np.bincount(ranked), np.bincount(LABELS))
    assert [attributes["data-class"] for _, attributes in page.tags if "data-class" in attributes] == ["0", "1", "2"]


def test_command_line(tmp_path, images):
    np.save(tmp_path / "probs.npy", PROBS)
    np.save(tmp_path / "labels.npy", LABELS)
    arguments = ("--K", 3, "--method", "tdds,aum", "--labels", "labels.npy")
    assert run("score", "probs.npy", "-o", "scores.h5", *arguments, cwd=tmp_path)[0] == 0
    arguments = ("--images", "data.npz", "--trajectory", "probs.npy", "-o", "report.html")
    status, out, err = run("report", "scores.h5", *arguments, cwd=tmp_path)
    assert (status, err) == (0, "")
    assert out.startswith("report.html (")
    page = Page(tmp_path / "report.html")
    assert "tdds score probs.npy -o scores.h5 --K 3" in page.text
    assert "tdds report scores.h5 --images data.npz" in page.text
    assert "T=8 100%" in page.text
    arguments = ("--K", 3, "--loss", "ce", "--labels", "labels.npy")
    assert run("score", "probs.npy", "-o", "ce.h5", *arguments, cwd=tmp_path)[0] == 0
    status, _, err = run("report", "ce.h5", "--trajectory", "probs.npy", "-o", "ce.html", cwd=tmp_path)
    assert (status, err) == (0, "")
    status, _, err = run("report", "scores.h5", "--images", "a", "--data", "b", "-o", "r.html", cwd=tmp_path)
    assert (status, err.strip()) == (1, "tdds: Say --images or --data, one of the two.")


def test_cifar10_stays_under_five_megabytes(shared, tmp_path):
    trajectory = open_trajectory(shared("data/cifar10-trajectory-seed0.npz"))
    methods = {name: make_score(name) for name in ("tdds", "aum", "el2n", "forgetting", "entropy")}
    methods["tdds"] = make_score("tdds", T=10, K=5)
    table = ScoreTable(
        scores=compute_scores(trajectory, methods),
        keeps={name: score.keeps for name, score in methods.items()},
        parameters={name: {} for name in methods},
        source={},
        labels=trajectory.labels,
    )
    write_report(table, tmp_path / "report.html", samples=Images(shared("data/cifar10-jpeg.npz")))
    assert (tmp_path / "report.html").stat().st_size < 5e6


@pytest.fixture
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


def shown(browser, selector):
    return [element.text for element in browser.find_elements("css selector", selector)]


@pytest.mark.browser
def test_the_page_lives(tmp_path, images, browser):
    table = make_table()
    write_report(table, tmp_path / "report.html", samples=Images(images), pruning_rate=0.5)
    browser.get((tmp_path / "report.html").as_uri())
    slider = browser.find_element("id", "rate")

    def assert_kept(name, step):
        kept = top(preference(table.scores[name], table.keeps[name]), count_kept(N, step / 1000))
        assert browser.find_element("id", "kept").text == str(len(kept))
        counts = np.bincount(LABELS[kept], minlength=C)
        assert shown(browser, "#balance td.kept") == [str(count) for count in counts]
        assert shown(browser, "#balance td.share") == [f"{100 * count / 30:.1f}%" for count in counts]
        bars = browser.find_elements("css selector", f'figure[data-method="{name}"] rect.kept')
        heights = np.array([float(bar.get_attribute("height")) for bar in bars])
        bins = base64.b64decode(Page(tmp_path / "report.html").data["methods"][name]["bins"])
        highest = np.bincount(np.frombuffer(bins, dtype=np.uint8)).max()
        assert (heights * highest / 100).sum() == pytest.approx(len(kept))
        assert f"--method {name} --pruning-rate {step / 1000:g} " in browser.find_element("id", "select").text

    assert_kept("tdds", 500)
    browser.execute_script("document.getElementById('rate').focus()")
    slider.send_keys("\ue014" * 30)  # the right arrow key
    assert slider.get_attribute("value") == "530"
    assert_kept("tdds", 530)
    slider.send_keys("\ue010")  # end
    assert_kept("tdds", 999)
    chooser = browser.find_element("id", "method")
    chooser.send_keys("aum")
    assert_kept("aum", 999)
    assert browser.find_element("id", "side").text == "less"
    assert len([one for one in browser.find_elements("css selector", ".ends") if one.is_displayed()]) == C
    assert browser.title == "tdds report: scores.h5"  # the hostile class name ran nothing
    assert HOSTILE in shown(browser, "#balance th")
    assert browser.get_log("browser") == []


@pytest.mark.browser
def test_more_classes_than_a_byte_counts(tmp_path, browser):
    labels = np.repeat(np.arange(300), 2)
    scores = RNG.random(600)
    write_report(make_table(labels=labels, scores={"tdds": scores}), tmp_path / "report.html", pruning_rate=0.25)
    browser.get((tmp_path / "report.html").as_uri())
    counts = np.bincount(labels[top(scores, 450)], minlength=300)
    assert shown(browser, "#balance td.kept") == [str(count) for count in counts]


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 375, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_is_legible(tmp_path, images, browser, width, scheme):
    metrics = {"width": width, "height": 700, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    write_report(make_table(), tmp_path / "report.html", samples=Images(images), trajectory=open_trajectory(PROBS))
    browser.get((tmp_path / "report.html").as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    colours = browser.execute_script(
        "const style = getComputedStyle(document.documentElement);"
        "return ['paper', 'panel', 'ink', 'quiet', 'line', 'kept'].map(name => style.getPropertyValue('--' + name))"
    )
    paper, panel, *others = (luminance(colour.strip()) for colour in colours)
    assert (paper > 0.5) == (scheme == "light")
    for other in others:
        for ground in (paper, panel):
            assert (max(other, ground) + 0.05) / (min(other, ground) + 0.05) >= 4.5


def luminance(colour):
    """Relative luminance of #rrggbb, as WCAG 2 defines it."""
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]
