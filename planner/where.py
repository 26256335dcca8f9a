"""The one query language of tables: ``column op number [and ...]``.

Column names may hold spaces, ``/`` and ``::``; ``==`` means within .5 %, because FLOPs and sizes of
equal meaning differ in their last digits.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from planner.arrays import Floats
from planner.errors import TableError

WITHIN = 0.005
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_CLAUSE = re.compile(rf"^\s*([^<>=!]+?)\s*(==|!=|<=|>=|<|>)\s*({_NUMBER})\s*$")
_AND = re.compile(r"(?<=[\d.])\s+and\s+", re.IGNORECASE)
_ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True, slots=True)
class Clause:
    """One comparison of a column with a number."""

    name: str
    operator: str
    number: float

    def holds(self, values: Floats) -> npt.NDArray[np.bool_]:
        """Return the mask (n,) of values that satisfy the clause; nan never does."""
        if self.operator in _ORDER:
            return np.asarray(_ORDER[self.operator](values, self.number))
        near = np.abs(values - self.number) <= WITHIN * abs(self.number)
        return near if self.operator == "==" else ~near & ~np.isnan(values)


def parse_where(text: str) -> tuple[Clause, ...]:
    """Parse a query; TableError shows the clause that is not ``column op number``."""
    clauses = []
    for part in _AND.split(text):
        match = _CLAUSE.match(part)
        if not match:
            raise TableError(
                f"'{part}' is not of the form `column op number` with op one of == != < <= > >=, "
                "joined by `and`"
            )
        clauses.append(Clause(match[1].strip("`\"'"), match[2], float(match[3])))
    return tuple(clauses)
