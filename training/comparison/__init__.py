"""Several losses, trained from the same seeds and compared pair by pair.

Outsiders use `run.compare`, which returns a `report.Comparison`.
"""
