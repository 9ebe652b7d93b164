"""What CI leaves out: other versions, other processors, the wheel. `nox -s lowest -- tests/test_engine.py`.

A session runs the tests that it is given, else its own. Each takes a quarter of an hour or more on two cores, but the
short ones, `bare` and `processors`, which plain `nox` runs.
"""

import configparser
import shutil
import tarfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
TORCH = next(line for line in Path("constraints.txt").read_text().splitlines() if line.startswith("torch=="))
TOOLS = ("pytest>=8", "hypothesis>=6.100", "psutil>=5.9")
KERNELS = ("tests/test_kernels.py", "tests/test_golden.py")
CORE = (*KERNELS, *(f"tests/test_{name}.py" for name in ("engine", "extras", "samplers", "scores", "sources", "store")))


def lowest_versions(*extras: str) -> list[str]:
    """The lowest versions that setup.cfg allows, of the library's own dependencies and of those of `extras`."""
    setup = configparser.ConfigParser(interpolation=None)
    setup.read("setup.cfg")
    of_extras = setup["options.extras_require"]
    lines = "\n".join([setup["options"]["install_requires"], *(of_extras[extra] for extra in extras)]).split("\n")
    return [line.replace(">=", "==") for line in lines if line]


def unpack(session: nox.Session) -> Path:
    """Build sdist and wheel, install the wheel, and go to what the sdist holds beside the package."""
    session.install("build", "twine")
    folder = Path(session.create_tmp()).resolve()
    shutil.rmtree(folder)
    session.run("python", "-m", "build", "--outdir", str(folder))
    session.run("twine", "check", "--strict", *map(str, folder.iterdir()))
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    unpacked = folder / sdist.name.removesuffix(".tar.gz")
    shutil.rmtree(unpacked / "tdds")
    session.install(str(wheel))
    session.chdir(unpacked)
    session.run("python", "-c", "import tdds; assert 'site-packages' in tdds.__file__, tdds.__file__")
    return unpacked


@nox.session(python=["3.11", "3.12", "3.13"], default=False)
def newest(session: nox.Session) -> None:
    """The newest versions of everything but torch, whose newest is gigabytes."""
    session.install("-e", ".[test]", TORCH)
    session.run("pytest", *session.posargs)


@nox.session(python="3.11", default=False)
def lowest(session: nox.Session) -> None:
    """The lowest versions that setup.cfg allows; without torch, whose other versions are gigabytes each."""
    session.install(*lowest_versions("imblearn", "dask", "zarr", "plot", "parquet", "pandas", "report"), *TOOLS)
    session.install("--no-deps", "-e", ".")
    # Old versions warn of what newer versions of their own dependencies deprecate.
    ignored = ("-W", "ignore::DeprecationWarning", "-W", "ignore::FutureWarning")
    session.run("pytest", "--ignore", "tests/test_style.py", *ignored, *session.posargs)


@nox.session(default=False)
def wheel(session: nox.Session) -> None:
    """The wheel, tested outside the source tree by the tests of the sdist."""
    unpack(session)
    session.install("-c", "constraints.txt", "tdds-coreset[test]")
    session.run("pytest", "--ignore", "tests/test_style.py", "--pyargs", *(session.posargs or ("tests", "tdds")))


@nox.session
def bare(session: nox.Session) -> None:
    """The wheel with no extra: what needs none works, the rest says what to install."""
    unpack(session)
    session.run("tdds", "demo", "-o", session.create_tmp() + "/demo")
    session.install(*TOOLS)
    session.run("pytest", *(session.posargs or CORE))


@nox.session
@nox.parametrize(
    "environment",
    [
        nox.param({"NUMBA_CPU_NAME": "generic"}, id="generic"),
        nox.param({"NUMBA_CPU_NAME": "haswell"}, id="haswell"),
        nox.param({"NUMBA_DISABLE_JIT": "1"}, id="interpreted"),
        nox.param({"NUMBA_BOUNDSCHECK": "1"}, id="bounds-checked"),
    ],
)
def processors(session: nox.Session, environment: dict[str, str]) -> None:
    """The kernels as compiled for plainer processors, interpreted, and with every index checked."""
    session.install("-c", "constraints.txt", "-e", ".", *TOOLS)
    # A cache of its own: Numba's index does not know these options.
    cache = {"NUMBA_CACHE_DIR": session.create_tmp(), "TDDS_INNER": "1"}
    session.run("pytest", *(session.posargs or KERNELS), env=environment | cache)
