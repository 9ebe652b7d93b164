"""Without any extra, everything else works, and what is missing says the one command that installs it."""

import configparser
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from conftest import PACKAGES

import tdds

#: What a user does, by the extra that it needs; `probs` and `folder` are there.
NEEDS = {
    "torch": ["import tdds.torch", "from tdds.torch import TrajectoryRecorder"],
    "imblearn": ["import tdds.imblearn"],
    "lightning": ["from tdds.callbacks.lightning import RecordTrajectory"],
    "transformers": ["from tdds.callbacks.transformers import RecordTrajectory"],
    "keras": ["from tdds.callbacks.keras import RecordTrajectory"],
    "plot": ["import tdds.plotting", "from tdds.plotting import ScoreDisplay"],
    "report": ["import tdds.report", "command('report', folder / 'scores.h5', '-o', folder / 'report.html')"],
    "zarr": ["tdds.open_trajectory(folder / 'run.zarr')", "command('score', folder / 'run.zarr', '-o', 'scores.h5')"],
    "parquet": [
        "ScoreTable.load(folder / 'scores.h5').save(folder / 'scores.parquet')",
        "ScoreTable.load(folder / 'other.parquet')",
        "command('select', folder / 'scores.h5', '-o', folder / 'kept.parquet', '--keep', 5)",
    ],
    "pandas": [
        "ScoreTable.load(folder / 'scores.h5').to_pandas()",
        "tdds.compare_scores(probs, K=[4, 5]).to_pandas()",
    ],
}
#: Extras whose packages a user brings to us; nothing here imports them.
BROUGHT = {"dask"}
#: Extras that are lists of others, or tools for working on the library itself.
TOOLS = {"test", "browser", "frameworks", "docs", "all"}

ABSENT = f"""
import sys
class Absent:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {PACKAGES}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent)
"""

TRIES = """
import json
from pathlib import Path
import numpy as np
import tdds
from tdds.tables import ScoreTable
from tdds.cli.commands import app

folder = Path(sys.argv[1])
probs = np.random.default_rng(0).dirichlet(np.ones(3), size=(20, 6))
(folder / "run.zarr").mkdir()
(folder / "run.zarr" / "zarr.json").touch()
(folder / "other.parquet").touch()

def command(*arguments):
    app([str(argument) for argument in arguments], standalone_mode=False)

np.save(folder / "probs.npy", probs)
command("score", folder / "probs.npy", "--axes", "NTC", "--K", 5, "-o", folder / "scores.h5")
said = {}
for action in json.loads(sys.argv[2]):
    try:
        exec(action)
        said[action] = "nothing"
    except Exception as error:
        said[action] = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""


def without_extras(code, *arguments):
    """What `code` prints in a process that finds none of the optional packages."""
    environment = {"PYTHONPATH": str(Path(tdds.__file__).parents[1])} | dict(os.environ)
    done = subprocess.run(
        [sys.executable, "-c", ABSENT + code, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_missing_extra_is_named_with_its_command(tmp_path):
    actions = [action for of_extra in NEEDS.values() for action in of_extra]
    said = json.loads(without_extras(TRIES, tmp_path, json.dumps(actions)).splitlines()[-1])
    for extra, of_extra in NEEDS.items():
        for action in of_extra:
            assert re.fullmatch(rf"ImportError: .*pip install 'tdds-coreset\[{extra}\]'.*", said[action]), action


def test_every_extra_is_tried():
    path = Path(__file__).parents[1] / "setup.cfg"
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(path)
    assert set(setup["options.extras_require"]) == set(NEEDS) | BROUGHT | TOOLS
