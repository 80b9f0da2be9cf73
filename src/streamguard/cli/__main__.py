"""`python -m streamguard.cli`: the same as the command `streamguard`."""

from __future__ import annotations

from . import main

if __name__ == "__main__":
    main()
