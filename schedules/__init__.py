"""Schedules: one file per kernel family. A rule is `apply(func, target) -> Schedule or None` (None: not mine)."""
