"""Laws, fits and their intervals: numpy and scipy only."""
