"""The models that stand in for the real one, and the only home of torch."""
