import importlib.util
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "tdds", deadline=None, derandomize=True, database=None, suppress_health_check=list(hypothesis.HealthCheck)
)
hypothesis.settings.load_profile("tdds")

#: What the extras bring.
PACKAGES = ["torch", "imblearn", "lightning", "transformers", "keras", "matplotlib", "jinja2", "PIL", "zarr", "pyarrow"]
PACKAGES += ["numcodecs", "pandas", "polars", "dask", "distributed", "accelerate"]
ABSENT = {name for name in PACKAGES if importlib.util.find_spec(name) is None}

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    """A test that comes upon an extra which is not installed is skipped."""
    try:
        return (yield)
    except ImportError as error:
        missing = error.name or getattr(error.__context__, "name", None) or ""
        if missing.partition(".")[0] in ABSENT:
            pytest.skip(str(error))
        raise


@pytest.fixture(scope="session")
def shared():
    """The path of a file of the development data beside the repository; skips where it is absent."""

    def find(name):
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"{path} is absent")
        return path

    return find
