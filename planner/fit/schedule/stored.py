"""A schedule fit as plain data and back, so that its seconds are spent once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from planner.fit.schedule.fit import Member, ScheduleFit
from planner.fit.schedule.laws import LAWS
from planner.fit.schedule.solve import Form, Solved

FORMS = {form.name: form for law in LAWS for form in (Form(law, False), Form(law, True))}


def to_plain(fit: ScheduleFit) -> dict[str, Any]:
    """Return everything a fit needs to predict again."""
    own = {name: value for name, value in vars(fit).items() if name != "members"}
    return own | {"runs": list(fit.runs), "members": [_member(one) for one in fit.members]}


def from_plain(data: Mapping[str, Any]) -> ScheduleFit:
    """Read a fit back; KeyError or TypeError where the data are another version's."""
    members = tuple(_read(one) for one in data["members"])
    return ScheduleFit(**(dict(data) | {"runs": tuple(data["runs"]), "members": members}))


def _member(member: Member) -> dict[str, Any]:
    solved = asdict(member.solved) | {"theta": member.solved.theta.tolist()}
    return {
        "form": member.form.name,
        "weight": member.weight,
        "held_out": member.held_out,
        "solved": solved,
        "draws": member.draws.tolist(),
    }


def _read(data: Mapping[str, Any]) -> Member:
    solved = dict(data["solved"])
    names = {name: tuple(solved[name]) for name in ("at_bound", "undetermined")}
    return Member(
        FORMS[data["form"]],
        Solved(**(solved | names | {"theta": np.array(solved["theta"])})),
        data["weight"],
        data["held_out"],
        np.array(data["draws"]),
    )
