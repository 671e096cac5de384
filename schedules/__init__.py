"""Schedules: one file per kernel family (rules). A rule is `apply(func, target) -> Schedule or None` (None: not mine)."""
