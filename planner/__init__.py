"""planner: decide what to train before the money is spent."""
