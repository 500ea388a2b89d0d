"""The process in which users' scripts run: it reads questions from standard input and writes answers to standard output.

It is a process because neither engine can be stopped from outside while it is inside a built-in function, and
because jq terminates its process when a program recurses too deeply. It has no environment, no files beyond its three
streams and little memory, and it exits by itself: when its input ends (the server is gone), and when a question takes much
longer than allowed (the timer's signal keeps its default action, termination, so it works inside an engine too).

A frame is a length (4 bytes, big endian) and JSON. Question: [engine, source, argument, now, seed, limit].
Answer: [value, error, failed, timed out]. The first frame says that the process is ready.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import jq
import msgspec

from pelton.kernel.expressions.base import Evaluation, Invalid, Outcome
from pelton.kernel.expressions.javascript.bootstrap import MAX_RESULT
from pelton.kernel.expressions.javascript.script import Sandbox, run
from pelton.kernel.expressions.jq import check, names

MAX_FRAME = 64 << 20
MAX_RESULTS = 100_000  # of one jq program
PROGRAMS = 64  # compiled jq programs that are kept
GRACE = 1.0  # seconds after which a question that was not stopped ends the process, beside twice its limit


def main(memory: int) -> None:
    """Answers questions until the input ends. `memory`: bytes that the process may use beyond its initial size."""
    limit(memory)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    answers = Evaluator()
    write(sink, [None, "", False, False])
    while (question := read(source)) is not None:
        write(sink, answers.answer(question))
        answers.prepare()


def limit(memory: int) -> None:
    os.closerange(3, 1 << 16)  # what the server left open without meaning to
    try:
        used = int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()
    except OSError:
        used = 1 << 30  # no such file system here: a generous guess
    for what, most in [
        (resource.RLIMIT_AS, used + memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 8),
        (resource.RLIMIT_NPROC, 0),
    ]:
        hard = resource.getrlimit(what)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (allowed, allowed))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Control-C is for the server, which closes our input


def read(source: BinaryIO) -> Evaluation | None:
    head = source.read(4)
    if len(head) < 4:
        return None
    length = int.from_bytes(head, "big")
    if length > MAX_FRAME:
        return None
    body = source.read(length)
    return Evaluation(*msgspec.json.decode(body)) if len(body) == length else None


def write(sink: BinaryIO, answer: Any) -> None:
    body = msgspec.json.encode(answer)
    sink.write(len(body).to_bytes(4, "big") + body)
    sink.flush()


class Evaluator:
    def __init__(self) -> None:
        self._sandbox: Sandbox | None = None
        self._programs: OrderedDict[str, Any] = OrderedDict()

    def prepare(self) -> None:
        """Creates the next script's context while idle: a new one takes a millisecond."""
        if self._sandbox is None:
            self._sandbox = Sandbox()

    def answer(self, question: Evaluation) -> Outcome:
        seconds = question.limit / 1000
        usage = resource.getrusage(resource.RUSAGE_SELF)
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        most = math.ceil(usage.ru_utime + usage.ru_stime + 2 * seconds + GRACE)
        resource.setrlimit(resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
        signal.setitimer(signal.ITIMER_REAL, 2 * seconds + GRACE)
        try:
            if question.engine == "javascript":
                sandbox, self._sandbox = self._sandbox, None
                return run(question, sandbox)
            return self._jq(question)
        except (MemoryError, RecursionError):
            return Outcome(None, "the script needs more memory than it may use", failed=True)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _jq(self, question: Evaluation) -> Outcome:
        try:
            program = self._program(question)
        except Invalid as error:
            return Outcome(None, error.message, failed=True)
        except ValueError as error:
            return Outcome(None, message(error), failed=True)
        results: list[Any] = []
        try:
            for result in program.input_text(question.argument):
                results.append(result)
                if len(results) > MAX_RESULTS:
                    return Outcome(None, f"the program has more than {MAX_RESULTS} results", failed=True)
        except ValueError as error:
            return Outcome(None, message(error), failed=True)
        size = len(msgspec.json.encode(results))
        if size > MAX_RESULT:
            return Outcome(None, f"the results have {size} bytes; the limit is {MAX_RESULT}", failed=True)
        return Outcome(results)

    def _program(self, question: Evaluation) -> Any:
        check(question.source)
        source = question.source
        if any(name == "now" for name, _ in names(source)):
            source = f"def now: {question.now / 1000}; {source}"
        program = self._programs.get(source)
        if program is None:
            program = self._programs[source] = jq.compile(source)
            if len(self._programs) > PROGRAMS:
                self._programs.popitem(last=False)
        return program


def message(error: ValueError) -> str:
    """The first line of the engine's message, without its prefix."""
    return str(error).removeprefix("jq: error: ").split("\n", 1)[0][:1000] or "the program failed"
