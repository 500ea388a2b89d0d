"""The wheel, installed where nothing else is: what users get, without this checkout and the development tools."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import pelton

ROOT = Path(__file__).resolve().parent.parent

IMPORT_ALL = """
import importlib, pkgutil, sys, pelton
names = [each.name for each in pkgutil.walk_packages(pelton.__path__, "pelton.") if not each.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(len(names), pelton.__file__)
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed, in an environment that does not lead back to the checkout."""
    hidden = {"VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "PYTHONPATH", "PYTHONHOME", "UV_NO_SYNC", "COVERAGE_PROCESS_START"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def uv() -> str:
    """`uv run` says where it is; a plain pytest in the development environment has it beside its Python."""
    found = os.environ.get("UV") or shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert found, "uv is not installed: pip install uv"
    return found


@pytest.fixture(scope="module")
def wheel(uv: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    # Without isolation: hatchling is in the development group, pinned like the rest.
    run(uv, "build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", out, ROOT, cwd=ROOT)
    [built] = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(uv: str, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that holds the wheel and what its metadata asks for, at the pinned versions."""
    venv = tmp_path_factory.mktemp("empty") / "venv"
    run(uv, "venv", "--no-project", "--python", sys.executable, venv, cwd=venv.parent)
    pins = ROOT / "requirements" / "runtime.txt"
    run(uv, "pip", "install", "--no-config", "--python", venv, "--constraint", pins, wheel, cwd=venv.parent)
    return venv / ("Scripts" if sys.platform == "win32" else "bin")


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"pelton/__init__.py", "pelton/py.typed"} <= set(names)
    assert {name.split("/")[0] for name in names} == {"pelton", f"pelton-{pelton.__version__}.dist-info"}
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".db", ".orig"))]


def test_every_data_file_of_the_source_is_in_the_wheel(wheel: Path) -> None:
    source = ROOT / "src"
    data = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert data - set(zipfile.ZipFile(wheel).namelist()) == set()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_module_imports_without_development_packages(installed: Path, tmp_path: Path) -> None:
    count, where = run(installed / "python", "-W", "error", "-c", IMPORT_ALL, cwd=tmp_path).split(maxsplit=1)
    assert int(count) > 5
    assert Path(where.strip()).is_relative_to(installed.parent)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_command_says_its_version(installed: Path, tmp_path: Path) -> None:
    assert pelton.__version__ in run(installed / "pelton", "--version", cwd=tmp_path)
