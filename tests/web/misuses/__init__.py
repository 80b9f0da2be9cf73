"""Every way of misusing a guard that we know: each commits one, and gives what its user is told."""

from . import authenticating, decorating, installing, on_litestar, rules, starting
from .sites import ROWS, Row

__all__ = ["ROWS", "Row", "authenticating", "decorating", "installing", "on_litestar", "rules", "starting"]
