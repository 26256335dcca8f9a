import numpy as np

from planner.proxy import Outcome
from planner.run import Status
from planner.shape import size_from_mapping


class Mine:
    capabilities = frozenset()  # may declare "resume", "fork", "finder" ...

    def __init__(self, data, *, noise=0.1):  # `data:` and `options:` of the YAML
        self.noise, self.teacher = noise, np.random.default_rng(0).normal(size=16) / 4

    def size(self, shape):  # parameters and FLOPs per token, asked before anything is spent
        return size_from_mapping({"params": 17 * shape["width"]})

    def recipe(self):  # what identifies data and training: part of every trial's key
        return {"proxy": "mine", "noise": self.noise}

    @np.errstate(all="ignore")  # a learning rate that is too high is an outcome, no accident
    def train(self, trial, ctx):  # trial.lr, .tokens, .batch_tokens, .warmup_tokens, .seed ...
        rng, width = np.random.default_rng(trial.seed), trial.shape["width"]
        w, v = rng.normal(size=(16, width)) / 4, rng.normal(size=width) / width**0.5
        for step in range(1, trial.steps + 1):
            x, hidden, error = self.errors(rng, trial.batch_tokens, w, v)
            left, done = trial.steps - step + 1, step * trial.batch_tokens
            cooldown = min(1, left / (trial.schedule.decay_ratio * trial.steps))
            lr = trial.lr * min(1, done / max(1, trial.warmup_tokens)) * cooldown / len(x)
            w, v = w - lr * x.T @ (np.outer(error, v) * (hidden > 0)), v - lr * hidden.T @ error
            ctx.report(tokens=done, loss=np.mean(error**2) / 2)  # raises to stop the trial
        losses = self.errors(np.random.default_rng(1), 4096, w, v)[2] ** 2 / 2
        found = losses.mean(), losses.std() / 64  # held out; its standard error
        return Outcome(Status.DONE, *found, trial.tokens, metrics={"params": w.size + v.size})

    def errors(self, rng, count, w, v):
        x, noise = rng.normal(size=(count, 16)), self.noise * rng.normal(size=count)
        hidden = np.maximum(x @ w, 0)
        return x, hidden, hidden @ v - np.sin(x @ self.teacher) - noise
