"""The types of the JavaScript client are those of the server: every fault's code and field, and no other."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Final

from streamguard.faults import Fault, FaultCode, Severity

SOURCE: Final = (Path(__file__).parents[2] / "clients/javascript/src/faults.ts").read_text()


def test_every_code_is_typed() -> None:
    (union,) = re.findall(r"^export type FaultCode =(.*?);$", SOURCE, re.M | re.S)
    assert re.findall(r'"(\w+)"', union) == [code.value for code in FaultCode]


def test_every_field_of_a_fault_is_typed() -> None:
    (body,) = re.findall(r"^export interface Fault \{\n(.*?)^\}$", SOURCE, re.M | re.S)
    typed = dict(re.findall(r"^  readonly (\w+)\??: (.*);$", body, re.M))
    assert set(typed) == {field.name for field in fields(Fault)} - NOT_TYPED
    assert set(re.findall(r'"(\w+)"', typed["severity"])) == {severity.value for severity in Severity}


NOT_TYPED: Final = {"trace_id", "debug", "unknown"}
"""For operators and developers; and where a server keeps what a later version says."""
