"""A plan for a budget: decisions, cost, verdict."""
