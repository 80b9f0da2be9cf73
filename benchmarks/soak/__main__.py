"""The command line: `python -m benchmarks.soak`, or `scripts/soak`."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from pathlib import Path

from ..machine import facts
from .chaos import record_of, write_chaos
from .checker import check
from .history import History, read_history, write_history
from .report import evidence, summary
from .run import soak

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Soak, check, and print a summary. Returns 0, or 1 if a promise was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=sys.modules["benchmarks.soak"].__doc__
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to chat and break things (60)")
    parser.add_argument("--seed", type=int, default=None, help="what is drawn from it is drawn again (random)")
    parser.add_argument("--chats", type=int, default=16, help="how many chats at a time (16)")
    parser.add_argument("--out", type=Path, default=Path("build/soak"), help="where the history goes")
    parser.add_argument("--check", type=Path, metavar="HISTORY", help="only check a history that was written before")
    parser.add_argument("--record", action="store_true", help="make the documentation's chaos page from this run")
    options = parser.parse_args(arguments)
    if options.check is not None:
        return _told(read_history(options.check), record=options.record)
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    say(f"seed {seed}, {options.seconds:.0f} s")
    soaked = asyncio.run(soak(seconds=options.seconds, seed=seed, at_once=options.chats, say=say))
    options.out.mkdir(parents=True, exist_ok=True)
    write_history(soaked.history, options.out / "history.json")
    for name, text in soaked.worker_logs.items():
        (options.out / name).write_text(text)
    return _told(soaked.history, record=options.record)


def _told(history: History, *, record: bool) -> int:
    """Check a history and print the summary and each violation. With `record`, make the chaos page from it."""
    violations = check(history)
    print(summary(history, violations))
    if record:
        write_chaos(record_of(history, violations, facts()))
    for violation in violations:
        print(evidence(history, violation))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
