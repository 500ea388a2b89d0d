"""The quick tests on every supported Python that this machine has: `uv run poe pythons`. Downloads no interpreter.

Each runs in an environment of its own, with the pinned versions. Arguments go to pytest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


def supported() -> list[str]:
    """As in ["3.11", "3.12"], from the classifiers of the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [each.removeprefix("Programming Language :: Python :: ") for each in project["classifiers"]]
    return [each for each in found if each.startswith("3.")]


def candidates(version: str) -> list[Path]:
    """Where a Python of this version may be: this very one, on the path, and where pyenv and uv keep theirs."""
    homes = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions", Path.home() / ".local/share/uv/python"]
    on_path = shutil.which(f"python{version}")
    kept = [path for home in homes for path in sorted(home.glob(f"*{version}*/bin/python{version}"), reverse=True)]
    return [Path(sys.executable), *([Path(on_path)] if on_path else []), *kept]


def find(version: str) -> Path | None:
    """The first that really is of this version: a name on the path may belong to a tool that then finds none."""
    for path in candidates(version):
        asked = subprocess.run([path, "-c", VERSION], capture_output=True, text=True, check=False)
        if asked.returncode == 0 and asked.stdout.strip() == version:
            return path
    return None


def main(arguments: list[str]) -> int:
    environment = {key: value for key, value in os.environ.items() if key not in {"VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT"}}
    environment |= {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_SYNC": "0"}
    failed: list[str] = []
    for version in supported():
        path = find(version)
        if path is None:
            print(f"== Python {version}: not on this machine", flush=True)
            continue
        print(f"== Python {version}: {path}", flush=True)
        command = ["uv", "run", "--isolated", "--python", str(path), "poe", "test-quick", *arguments]
        if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
            failed.append(version)
    print(f"failed on {', '.join(failed)}" if failed else "passed on every Python that is here")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
