"""Deadlines, interruptions and timers, on the loops that servers run."""
