"""The errors a user can meet, and the exit code each ends with.

PlannerError                  1   something unexpected; the sentence says what
├── UsageError                2   a command, a table or an option that cannot be used as it is
│   ├── SpaceError            2   the search space (file, line, key)
│   ├── DataError             2   training text or tokens: missing, too small, unreadable
│   ├── TableError            2   a runs table without what a fit needs
│   ├── LedgerError           2   a damaged or foreign study folder
│   └── StudyLockedError      2   another process works on the study
├── EvidenceError             3   no plan: the evidence is not enough
├── BudgetError               4   the budget is spent, or can never pay for the smallest ladder
└── TooManyFailuresError      5   too many trials failed
"""

from __future__ import annotations


class PlannerError(Exception):
    """Base of every error that carries a sentence for the user."""

    exit_code = 1


class UsageError(PlannerError):
    """A command, table or option that cannot be used as it is."""

    exit_code = 2


class SpaceError(UsageError):
    """The search space is wrong; the message names file, line and key."""


class DataError(UsageError):
    """Training text or tokens are missing, unreadable or too small."""


class TableError(UsageError):
    """A runs table lacks what a fit needs."""


class LedgerError(UsageError):
    """A study folder is damaged beyond a cut last line, or is not a study."""


class StudyLockedError(UsageError):
    """Another process holds the study's lock."""


class EvidenceError(PlannerError):
    """The evidence is not enough for a plan; findings say what is missing."""

    exit_code = 3


class BudgetError(PlannerError):
    """The budget is spent before the goal, or can never reach it."""

    exit_code = 4


class TooManyFailuresError(PlannerError):
    """So many trials failed that going on would waste the budget."""

    exit_code = 5
