"""Trials on a Ray cluster: the only room that imports Ray."""

from planner.sweep.cluster.executor import RayExecutor

__all__ = ["RayExecutor"]
