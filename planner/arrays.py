"""The array types of the package: float64, as every fit uses, names, and yes or no."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Labels: TypeAlias = npt.NDArray[np.str_]
Flags: TypeAlias = npt.NDArray[np.bool_]
