"""Rounds of trials: what to run next, and the executors that run it."""
