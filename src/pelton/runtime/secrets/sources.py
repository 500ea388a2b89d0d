"""Secrets that are kept elsewhere: in the server's environment, or in files below one directory.

Who may set a secret could otherwise read everything that the server can. So only variables whose names begin with PELTON_SECRET_
count, which the server's own key is not among, and only files below the directory that the server was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pelton.errors import Code, PeltonError

ENV = "env:"
FILE = "file:"
VARIABLE = "PELTON_SECRET_"
MOST_BYTES = 32_768  # of a value
LONGEST_SOURCE = 1_000


class SecretSources:
    """`directory` None: no files."""

    def __init__(self, environment: Mapping[str, str], directory: Path | None = None) -> None:
        self._environment = environment
        self._directory = directory

    def check(self, source: str) -> None:
        """Whether this is a source, of whatever there is now. Raises PeltonError "invalid"."""
        if source.startswith(FILE):
            self._path(source.removeprefix(FILE))
        elif not source.startswith(ENV) or not source.removeprefix(ENV).isidentifier() or not source.isascii():
            raise _refused("a source is env:NAME or file:PATH", "name a variable by what follows PELTON_SECRET_")
        if len(source) > LONGEST_SOURCE:
            raise _refused(f"a source has at most {LONGEST_SOURCE} characters", "shorten it")

    def read(self, source: str) -> str:
        """Raises PeltonError "not found" or "invalid", with the source and never the value."""
        if source.startswith(ENV):
            variable = VARIABLE + source.removeprefix(ENV)
            if not (value := self._environment.get(variable, "")):
                raise PeltonError(Code.NOT_FOUND, f"the environment variable {variable} is not set at the server")
            return value
        path = self._path(source.removeprefix(FILE))
        try:
            with path.open("rb") as file:
                read = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise PeltonError(Code.NOT_FOUND, f"the file of {source} cannot be read: {error.strerror}") from None
        if not read or len(read) > MOST_BYTES:
            raise PeltonError(Code.INVALID, f"the file of {source} must have from 1 to {MOST_BYTES} bytes")
        try:
            return read.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise PeltonError(Code.INVALID, f"the file of {source} is not UTF-8") from None

    def _path(self, given: str) -> Path:
        if self._directory is None:
            raise _refused("this server reads no secrets from files", "start it with --secrets-dir DIR")
        outside = _refused("the file is not below the directory of --secrets-dir", "give its path from there on")
        try:
            path = (self._directory / given).resolve()
            if given and path.is_relative_to(self._directory.resolve()):
                return path
        except (OSError, ValueError, RuntimeError):
            raise outside from None
        raise outside


def _refused(text: str, remedy: str) -> PeltonError:
    return PeltonError(Code.INVALID, text, "source", remedy=remedy)
