"""Every loss law there is, by the name a user types."""

from __future__ import annotations

from collections.abc import Mapping

from planner.errors import UsageError
from planner.fit.forms import FORMS
from planner.fit.laws import CHINCHILLA, CHINCHILLA_TIED, Law

LAWS: Mapping[str, Law] = {law.name: law for law in (CHINCHILLA, CHINCHILLA_TIED)} | dict(FORMS)


def law_named(name: str) -> Law:
    """Return the law of a name; UsageError lists the names there are."""
    if name not in LAWS:
        raise UsageError(f"there is no law named {name!r}; known: auto, {', '.join(LAWS)}")
    return LAWS[name]
