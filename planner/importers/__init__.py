"""Real exports as flat rows: what a path holds is told from its content, never from its name.

A file is Parquet, JSON (lines), a delimited table or a TensorBoard event file, gzipped or not. A
folder is walked; what a tracker wrote (a study, W&B, MLflow, Ray Tune, a Trainer, TensorBoard) is
read as one run and not entered further, so that nothing is counted twice.
"""

from planner.importers.folder import load
from planner.importers.part import Part

__all__ = ["Part", "load"]
