"""The house style, held by tools: lint, format, types, docstrings of everything public."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import tdds

validate = pytest.importorskip("numpydoc.validate").validate

ROOT = Path(__file__).parents[1]
# What a one-line docstring of an obvious name may leave out, and headings that the house does not use.
LEFT_OUT = {
    "ES01",
    "SA01",
    "EX01",
    "GL01",
    "GL08",
    "YD01",
    "SS03",
    "SS05",
    "SS06",
    "RT01",
    "RT02",
    "RT03",
    "PR07",
    "PR08",
    "PR09",
}


@pytest.mark.parametrize(
    "command", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=lambda command: " ".join(command)
)
def test_tool_is_content(command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def public_callables():
    for name in tdds.__all__:
        item = getattr(tdds, name)
        if callable(item):
            yield f"{item.__module__}.{name}"
            for member, function in inspect.getmembers(item, inspect.isfunction):
                if not member.startswith("_") and function.__module__.startswith("tdds"):
                    yield f"{item.__module__}.{name}.{member}"


@pytest.mark.parametrize("name", list(public_callables()))
def test_docstring(name):
    errors = [error for error in validate(name)["errors"] if error[0] not in LEFT_OUT]
    assert errors == []


@pytest.mark.parametrize("name", ["score_trajectory", "compare_scores", "open_trajectory"])
def test_function_says_what_it_raises(name):
    item = getattr(importlib.import_module("tdds"), name)
    assert "\n    Raises\n    ------\n" in item.__doc__
