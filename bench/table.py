"""The table that the benchmark prints: a row a measurement, with its target and whether it was met."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

HEAD = ("load", "setting", "system", "rate", "p50 ms", "p99 ms", "CPU ms/unit", "load's CPU", "target", "")


class Target(NamedTuple):
    """`of`: which number of the row. `at`: the bound, which counts as met."""

    of: str  # rate | p50 | cpu | value
    at: float
    most: bool = True  # whether it is an upper bound

    def met(self, row: Row) -> bool:
        compare: Callable[[float, float], bool] = operator.le if self.most else operator.ge
        return compare(float(getattr(row, self.of)), self.at)

    def text(self) -> str:
        name = {"rate": "rate", "p50": "p50", "cpu": "CPU", "value": ""}[self.of]
        return f"{name} {'<=' if self.most else '>='} {self.at:g}".strip()


class Row(NamedTuple):
    load: str
    setting: str
    system: str
    rate: float = 0.0
    unit: str = ""
    p50: float = 0.0
    p99: float = 0.0
    cpu: float = 0.0
    load_cpu: float = 0.0
    value: float = 0.0  # where the row is one number
    shown: str = ""  # that number as text
    targets: tuple[Target, ...] = ()
    error: str = ""

    def cells(self) -> tuple[str, ...]:
        if self.error:
            return (self.load, self.setting, self.system, "FAILED", "", "", "", "", "", "no")
        rate = self.shown or f"{self.rate:,.0f} {self.unit}/s"
        met = ["yes" if target.met(self) else "no" for target in self.targets]
        return (
            self.load, self.setting, self.system, rate,
            f"{self.p50:.2f}" if self.p50 else "", f"{self.p99:.2f}" if self.p99 else "",
            f"{self.cpu:.3f}" if self.cpu else "", f"{self.load_cpu:.3f}" if self.load_cpu else "",
            "; ".join(target.text() for target in self.targets), ", ".join(met),
        )  # fmt: skip


def printed(rows: Sequence[Row]) -> str:
    """As Markdown, columns aligned."""
    cells = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(HEAD))]
    right = {3, 4, 5, 6, 7}
    lines = [
        "| " + " | ".join(cell.rjust(width) if at in right and number else cell.ljust(width)
                          for at, (cell, width) in enumerate(zip(line, widths, strict=True))) + " |"
        for number, line in enumerate(cells)
    ]  # fmt: skip
    lines.insert(1, "|" + "|".join(("-" * (width + 1) + ":") if at in right else "-" * (width + 2)
                                   for at, width in enumerate(widths)) + "|")  # fmt: skip
    lines += [f"\n{row.load}, {row.setting}, {row.system}: {row.error}" for row in rows if row.error]
    return "\n".join(lines)
