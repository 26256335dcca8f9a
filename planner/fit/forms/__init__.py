"""The loss laws beyond a plain sum of powers, one family a file."""

from __future__ import annotations

from collections.abc import Mapping

from planner.fit.forms.batch import BATCH
from planner.fit.forms.bounded import BOUNDED_RATIONAL
from planner.fit.forms.coupled import COUPLED
from planner.fit.forms.data_constrained import DATA_CONSTRAINED
from planner.fit.forms.farseer import FARSEER
from planner.fit.forms.kaplan import KAPLAN_FLOOR
from planner.fit.forms.over_training import OVER_TRAINING
from planner.fit.laws import Law

FORMS: Mapping[str, Law] = {
    law.name: law
    for law in (
        COUPLED,
        BOUNDED_RATIONAL,
        KAPLAN_FLOOR,
        FARSEER,
        BATCH,
        DATA_CONSTRAINED,
        OVER_TRAINING,
    )
}
