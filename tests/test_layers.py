"""Imports point down only, and importing costs little."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tdds

ROOT = Path(tdds.__file__).parent

#: Every part, from the bottom up, and what of ours it may import.
LAYERS = {
    "callbacks": {"torch", "store"},
    "torch": {"kernels", "samplers", "scores", "store", "validation"},
    "_version": set(),
    "kernels": set(),
    "classes": set(),
    "validation": set(),
    "store": {"kernels", "validation", "_version"},
    "npz": {"validation"},
    "sources": {"npz", "store", "validation"},
    "scores": {"classes", "kernels", "validation"},
    "samplers": {"classes", "validation"},
    "partial": {"sources", "_version"},
    "planning": {"sources", "scores", "validation"},
    "engine": {"partial", "planning", "sources", "scores", "samplers", "store", "kernels", "validation"},
    "summaries": {"engine", "sources", "scores", "samplers"},
    "estimate": {"engine", "planning", "sources", "scores"},
    "comparison": {"engine", "sources", "scores", "samplers", "validation"},
    "tables": {"npz", "samplers", "store", "validation", "_version"},
    "online": {"engine", "planning", "sources", "scores", "store", "kernels", "validation"},
    "rows": set(),
    "selector": {"online", "engine", "rows", "sources", "scores", "samplers", "validation"},
    "epochs": set(),
    "classifier": {"selector", "engine", "epochs", "rows", "samplers", "scores", "validation"},
    "imblearn": {"selector", "rows", "sources"},
}
#: What people look at, on top: may import any layer, `demo` draws with `plotting`, and `cli` runs all but that.
TOP = {
    "plotting": set(LAYERS),
    "report": set(LAYERS),
    "demo": {*LAYERS, "plotting"},
    "cli": {*LAYERS, "demo", "report"},
}


def files_of(part):
    return sorted((ROOT / part).rglob("*.py")) if (ROOT / part).is_dir() else [ROOT / f"{part}.py"]


def parts_imported(path, part):
    """The parts of tdds that a file imports, anywhere in it, its own left out; the package itself is 'tdds'."""
    names = set()
    public = {name: tdds._HOME.get(name, name) for name in tdds.__all__}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            if node.module == "tdds":
                names |= {f"tdds.{public.get(alias.name, alias.name)}" for alias in node.names}
            else:
                names.add(node.module)
    ours = {name.split(".")[1] if "." in name else name for name in names if name.split(".")[0] == "tdds"}
    return ours - {part}


@pytest.mark.parametrize("part", [*LAYERS, *TOP])
def test_imports_point_down(part):
    for path in files_of(part):
        assert parts_imported(path, part) <= (LAYERS | TOP)[part] | ({"tdds"} if part in TOP else set()), path


def test_every_module_has_a_layer():
    parts = {path.stem for path in ROOT.glob("*.py")} | {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert parts - {"__init__"} == set(LAYERS) | set(TOP)


def in_a_fresh_process(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


def test_import_tdds_imports_nothing_heavy():
    loaded = in_a_fresh_process("import sys, tdds; print(*sorted({name.split('.')[0] for name in sys.modules}))")
    assert "tdds" in loaded
    assert not set(loaded) & {"numpy", "numba", "h5py", "scipy", "sklearn", "joblib", "torch", "matplotlib", "pandas"}


def test_the_selector_compiles_nothing_and_imports_no_framework():
    loaded = in_a_fresh_process(
        "import sys; from tdds import *; from tdds import TDDSSelector, kernels\n"
        "compiled = [n for n, k in vars(kernels).items() if getattr(k, 'signatures', None)]\n"
        "assert any(hasattr(k, 'signatures') for k in vars(kernels).values()), 'no kernels'\n"
        "assert not compiled, compiled\n"
        "print(*sys.modules)"
    )
    assert {"tdds.selector", "tdds.engine", "tdds.store", "numba", "h5py"} <= set(loaded)
    assert not set(loaded) & {"torch", "matplotlib", "imblearn", "dask"}  # pandas: scikit-learn imports it itself


def test_public_names():
    assert set(tdds.__all__) <= set(dir(tdds))
    for name in tdds.__all__:
        assert getattr(tdds, name) is not None
    assert issubclass(tdds.TrajectoryError, ValueError)
    with pytest.raises(AttributeError, match=r"^module 'tdds' has no attribute 'nonsense'$"):
        _ = tdds.nonsense
