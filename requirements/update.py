"""Writes every pin of the project anew: `uv run --no-project python requirements/update.py [--upgrade]`.

Takes the dependencies named in pyproject.toml and writes

* requirements/runtime.txt, build.txt, dev.txt, types.txt and uv.txt: names, versions and hashes, for installs that check what
  they fetch;
* `constraint-dependencies` in pyproject.toml: the same versions, so that a plain `uv run` resolves to them too.

Without `--upgrade` the versions in the files stay, wherever the dependencies still allow them. No file gets an address.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYPROJECT = HERE.parent / "pyproject.toml"
OLDEST_PYTHON = "3.11"
COMMAND = "uv run --no-project python requirements/update.py"
BLOCK = re.compile(r"^constraint-dependencies = \[\n.*?^\]\n", re.MULTILINE | re.DOTALL)
PIN = re.compile(r"^(?P<pin>[A-Za-z0-9][A-Za-z0-9._-]*==\S+(?: ; [^\\\n]+?)?)(?: \\)?$", re.MULTILINE)


def pins(text: str) -> list[str]:
    """The pinned lines of a requirements file, `name==version` with the marker if it has one, without their hashes."""
    return PIN.findall(text)


def compile_pins(source: Path, output: Path, arguments: list[str]) -> None:
    """Resolves `source` into `output`, for every platform and every supported Python."""
    options = f"--quiet --no-config --universal --python-version {OLDEST_PYTHON} --fork-strategy fewest --generate-hashes"
    clean = "--no-annotate --no-emit-index-url --no-emit-find-links"
    command = ["uv", "pip", "compile", *options.split(), *clean.split(), "--custom-compile-command", COMMAND]
    subprocess.run([*command, "--output-file", str(output), *arguments, str(source)], check=True)


def with_constraints(text: str, lines: list[str]) -> str:
    """`text` of pyproject.toml with `lines` as its constraints; the block must be there, be it empty."""
    block = "constraint-dependencies = [\n" + "".join(f'    "{line}",\n' for line in lines) + "]\n"
    changed, count = BLOCK.subn(lambda _: block, text)
    if count != 1:
        raise SystemExit(
            f"pyproject.toml: expected one block `constraint-dependencies = [` in [tool.uv], found {count}; restore it"
        )
    return changed


def main() -> None:
    upgrade = [argument for argument in sys.argv[1:] if argument == "--upgrade" or argument.startswith("--upgrade-package=")]
    if unknown := set(sys.argv[1:]) - set(upgrade):
        raise SystemExit(f"unknown argument {sorted(unknown)[0]!r}: use --upgrade, --upgrade-package=NAME, or none")
    text = PYPROJECT.read_text()
    groups = [f"--group={name}" for name in tomllib.loads(text)["dependency-groups"]]
    with tempfile.TemporaryDirectory() as directory:
        # A copy without the old constraints: they would hold the new resolution fast.
        source = Path(directory, "pyproject.toml")
        source.write_text(with_constraints(text, []))
        tool = Path(directory, "uv.in")
        tool.write_text("uv\n")
        build = Path(directory, "build.in")
        build.write_text("".join(f"{each}\n" for each in tomllib.loads(text)["build-system"]["requires"]))
        types = Path(directory, "types.in")
        types.write_text("".join(f"{each}\n" for each in tomllib.loads(text)["dependency-groups"]["types"]))
        everything = Path(directory, "all.txt")
        if (HERE / "dev.txt").exists():
            everything.write_text("".join(path.read_text() for path in (HERE / "dev.txt", HERE / "types.txt") if path.exists()))
        compile_pins(source, everything, [f"--group={source}:{group.removeprefix('--group=')}" for group in groups] + upgrade)
        constraint = ["--constraint", str(everything)]
        compile_pins(source, HERE / "runtime.txt", [*constraint, "--upgrade"])
        compile_pins(source, HERE / "dev.txt", [*constraint, "--upgrade", f"--group={source}:dev"])
        compile_pins(build, HERE / "build.txt", [*constraint, "--upgrade"])
        compile_pins(types, HERE / "types.txt", [*constraint, "--upgrade"])
        compile_pins(tool, HERE / "uv.txt", [*constraint, "--upgrade"])
        PYPROJECT.write_text(with_constraints(text, pins(everything.read_text())))


if __name__ == "__main__":
    main()
