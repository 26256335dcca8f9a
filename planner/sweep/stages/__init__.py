"""The questions a sweep asks, one file per question."""
