"""The questions a sweep asks, one file per question.

A stage is a function ``propose(state) -> Proposal | None``: the trials it wants next and why, or
None when it has nothing more to ask. It is pure: same ended runs, same proposal.
"""
