"""Small trials of the gpt proxy, and a context that plays a worker that dies under them."""

import math
from dataclasses import replace
from pathlib import Path

from planner.proxy import StopTrial
from planner.run import Trial

CONTEXT, BATCH = 16, 64
STEPS = 1_000


class Context:
    """What a worker gives a trial; stops it after ``patience`` reports, or ``steps`` steps."""

    def __init__(self, folder, parent=None, patience=math.inf, end=StopTrial, steps=math.inf):
        self.checkpoint_dir, self.parent, self.device = Path(folder), parent, "cpu"
        self.points, self.patience, self.end = [], patience, end
        self.resumed_at, self.steps, self.asked = 0, steps, 0
        self.alike = {}

    def report(self, **values):
        self.points.append(values)
        if len(self.points) > self.patience:
            raise self.end("killed")

    def resumed(self, tokens):
        self.resumed_at = tokens

    def give_way(self, tokens):
        self.asked += 1
        if self.asked > self.steps:
            raise self.end("wanted back")

    def column(self, name):
        return [point[name] for point in self.points]


def trial(steps=STEPS, **changes):
    start = Trial("t", {"width": 8, "depth": 1}, steps * BATCH, BATCH, 0.01, 20 * BATCH, seed=3)
    return replace(start, **changes)
