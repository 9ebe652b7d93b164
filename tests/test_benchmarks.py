"""The benchmarks run: every one of asv's suite once, on little data, so that none rots."""

import importlib
import itertools
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
MODULES = [path.stem for path in (BENCHMARKS / "suite").glob("[!_]*.py")]


def benchmarks():
    for name in MODULES:
        for suite in vars(importlib.import_module(f"suite.{name}")).values():
            if isinstance(suite, type) and suite.__module__ == f"suite.{name}":
                params = getattr(suite, "params", ())
                grid = params if params and isinstance(params[0], tuple) else (params,) if params else ()
                for values in itertools.product(*grid):
                    yield pytest.param(suite, values, id=f"{name}-{suite.__name__}-{'-'.join(map(str, values))}")


@pytest.mark.parametrize(("suite", "values"), list(benchmarks()))
def test_benchmark_runs(suite, values, monkeypatch):
    for name in MODULES:
        module = sys.modules[f"suite.{name}"]
        if hasattr(module, "N_VALUES"):
            monkeypatch.setattr(module, "N_VALUES", 1 << 15)
    one = suite()
    try:
        getattr(one, "setup", lambda *values: None)(*values)
    except NotImplementedError as error:  # as asv takes it
        pytest.skip(str(error))
    names = [name for name in dir(one) if name.startswith(("time_", "peakmem_"))]
    assert names
    for name in names:
        getattr(one, name)(*values)
    getattr(one, "teardown", lambda *values: None)(*values)
