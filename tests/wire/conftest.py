"""Hypothesis without its deadline: a busy machine is not a failure, and each test has pytest's timeout."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
