"""`streamguard doctor`: whether a Redis is fit to keep streams, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Final

import typer

from ..errors import StoreUnavailableError
from ..stores.redis.server_facts import RedisInspector
from .checks import (
    Finding,
    Verdict,
    check_clock,
    check_keys,
    check_life,
    check_outbox,
    check_permissions,
    check_records,
    check_scripts,
    check_server,
    check_start,
    check_streams,
    check_writes,
    unreachable,
)
from .exits import ExitCode
from .options import (
    DEFAULT_NAMESPACE,
    DEFAULT_TIMEOUT,
    AsJson,
    Namespace,
    Place,
    Timeout,
    Url,
    place_of,
    run,
)
from .output import Output, count, safe

__all__ = ["doctor"]

_MARKS: Final = {Verdict.OK: "ok", Verdict.WARNING: "warning", Verdict.PROBLEM: "PROBLEM", Verdict.SKIPPED: "skipped"}
_STYLES: Final = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.PROBLEM: "bold red", Verdict.SKIPPED: "dim"}


def doctor(
    url: Url,
    namespace: Namespace = DEFAULT_NAMESPACE,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Write nothing: leave out the checks that need it.")
    ] = False,
    sample: Annotated[int, typer.Option(help="Look at so many keys.", min=1, max=100_000)] = 1_000,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings too.")] = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Check whether a Redis is fit to keep streams.

    It looks at the server's version, memory and persistence, compares clocks, loads the scripts, looks for keys that
    would live for ever or cannot be read, and for work that nobody does. And it takes a stream of its own through a
    whole life, to see that this account may do everything; that stream is erased at the end.
    """
    output = Output(as_json=as_json)

    async def work() -> ExitCode:
        place = place_of(url, namespace, timeout)
        try:
            findings = await _examine(place, read_only=read_only, sample=sample)
        except StoreUnavailableError as exc:
            findings = [unreachable(exc)]
            _report(output, place, findings)
            return ExitCode.UNREACHABLE
        _report(output, place, findings)
        bad = {Verdict.PROBLEM, Verdict.WARNING} if strict else {Verdict.PROBLEM}
        return ExitCode.PROBLEMS if any(finding.verdict in bad for finding in findings) else ExitCode.OK

    run(output, work)


async def _examine(place: Place, *, read_only: bool, sample: int) -> list[Finding]:
    """Every finding.

    Raises:
        StoreUnavailableError: the server does not answer at all.
    """
    if not place.is_redis:
        return await _examine_foreign(place, read_only=read_only)
    async with place.surveyed() as survey, place.opened() as store:
        findings = []
        for server in await survey.each():
            try:
                found = await _examine_server(server, read_only=read_only, sample=sample)
            except StoreUnavailableError as exc:
                if not server.of_cluster:
                    raise
                found = [unreachable(exc)]
            if server.of_cluster:
                found = [replace(one, detail=f"{one.detail} (at {server.address})") for one in found]
            findings += found
        findings.append(_left_out("trial") if read_only else await check_life(store))
        findings += [await check_streams(store), await check_outbox(store)]
    return findings


async def _examine_server(server: RedisInspector, *, read_only: bool, sample: int) -> list[Finding]:
    """What is to be said of one server.

    Raises:
        StoreUnavailableError: it does not answer at all.
    """
    findings = check_clock(await server.clock())
    findings += check_server(await server.facts(), of_cluster=server.of_cluster)
    if read_only:
        findings += [_left_out(check) for check in ("writes", "permissions", "scripts")]
    else:
        findings += [await check_writes(server), await check_permissions(server), await check_scripts(server)]
    return [*findings, await check_keys(server, sample), await check_records(server, sample)]


async def _examine_foreign(place: Place, *, read_only: bool) -> list[Finding]:
    """What can be said of a store of another package.

    Raises:
        StoreUnavailableError: it does not answer at all.
    """
    async with place.opened() as store:
        findings = await check_start(store)
        findings.append(Finding("server", Verdict.SKIPPED, f"only a Redis can be examined, not {place.scheme}://"))
        if read_only:
            findings.append(_left_out("trial"))
        else:
            findings.append(await check_life(store))
        findings += [await check_streams(store), await check_outbox(store)]
    return [replace(finding, detail=place.without_credentials(finding.detail)) for finding in findings]


def _left_out(check: str) -> Finding:
    return Finding(check, Verdict.SKIPPED, "left out (--read-only)")


def _report(output: Output, place: Place, findings: Sequence[Finding]) -> None:
    counts = {verdict: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict}
    if output.as_json:
        output.value(
            {
                "store": place.name,
                "namespace": place.namespace,
                "healthy": not counts[Verdict.PROBLEM],
                "checks": [
                    {
                        "check": finding.check,
                        "verdict": finding.verdict,
                        "detail": finding.detail,
                        "values": dict(finding.values),
                    }
                    for finding in findings
                ],
            }
        )
        return
    for finding in findings:
        output.marked(
            _MARKS[finding.verdict], _STYLES[finding.verdict], f"{finding.check:<13}{safe(finding.detail)}", width=9
        )
    problems, warnings = counts[Verdict.PROBLEM], counts[Verdict.WARNING]
    output.line(
        f"{place.name}, namespace {place.namespace}: {count(problems, 'problem')}, {count(warnings, 'warning')}"
    )
