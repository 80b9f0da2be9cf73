"""What Redis's error replies mean, and what an operator does about that. The text of a reply goes no further: it may
hold keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from ...unavailable import UnavailableReason

__all__ = [
    "EXPLAINED",
    "Explained",
    "codes_of",
    "error_code",
    "explained",
    "reason_of_reply",
    "refused_text",
    "why_closed",
]

_HIDDEN: Final = re.compile(r"\b(?:LOADING|MASTERDOWN|MISCONF|NOAUTH|NOPERM|NOREPLICAS|OOM|READONLY|WRONGTYPE)\b")

_BY_CODE: Final[Mapping[str, UnavailableReason]] = {
    "OOM": UnavailableReason.OUT_OF_MEMORY,
    "MISCONF": UnavailableReason.CANNOT_PERSIST,
    "READONLY": UnavailableReason.READ_ONLY,
    "LOADING": UnavailableReason.STARTING,
    "BUSY": UnavailableReason.BUSY,
    "UNKILLABLE": UnavailableReason.BUSY,
    "WRONGPASS": UnavailableReason.WRONG_PASSWORD,
    "NOAUTH": UnavailableReason.PASSWORD_NEEDED,
    "NOPERM": UnavailableReason.FORBIDDEN,
    "DENIED": UnavailableReason.PROTECTED_MODE,
    "NOREPLICAS": UnavailableReason.TOO_FEW_REPLICAS,
    "MASTERDOWN": UnavailableReason.MASTER_DOWN,
    "CLUSTERDOWN": UnavailableReason.CLUSTER_DOWN,
    "MOVED": UnavailableReason.SLOT_MOVED,
    "ASK": UnavailableReason.SLOT_MOVED,
    "CROSSSLOT": UnavailableReason.SLOT_MOVED,
    "TRYAGAIN": UnavailableReason.TRY_AGAIN,
}
_BY_TEXT: Final = {
    re.compile(r"max number of clients"): UnavailableReason.TOO_MANY_CONNECTIONS,
    re.compile(r"unauthenticated"): UnavailableReason.PASSWORD_NEEDED,  # to more than a few short words
    re.compile(r"invalid password|\bAUTH\b.*\bpassword\b"): UnavailableReason.WRONG_PASSWORD,
    re.compile(r"DB index"): UnavailableReason.NO_DATABASE,
    re.compile(r"cluster support disabled"): UnavailableReason.NO_CLUSTER,
    re.compile(r"can't (?:run this command|access at least one of the|publish to the channel)"): (
        UnavailableReason.FORBIDDEN
    ),
    re.compile(r"unknown (?:sub)?command|Unknown Redis command"): UnavailableReason.COMMAND_UNKNOWN,
}
"""What servers of all versions say under the code `ERR`, which says nothing."""
_SHOWN: Final = frozenset({*_BY_CODE, "ERR", "EXECABORT", "INPROG", "NOPROTO", "NOSCRIPT", "NOTBUSY", "WRONGTYPE"})
"""Codes that a text may have: another first word may be anything."""
_PARTING: Final = frozenset(
    {
        UnavailableReason.TOO_MANY_CONNECTIONS,
        UnavailableReason.PASSWORD_NEEDED,
        UnavailableReason.PROTECTED_MODE,
    }
)
"""After these a server hangs up."""
_COMMAND: Final = re.compile(r"'([a-z|_]+)' command")


class Explained(NamedTuple):
    """A reason as operators are told of it."""

    meaning: str
    advice: str


EXPLAINED: Final[Mapping[UnavailableReason, Explained]] = {
    UnavailableReason.OUT_OF_MEMORY: Explained(
        "it is out of memory", "raise maxmemory, or free memory; leave maxmemory-policy at noeviction"
    ),
    UnavailableReason.CANNOT_PERSIST: Explained(
        "it takes no writes, because it could not save its data to disk", "free disk space; the log of Redis says more"
    ),
    UnavailableReason.READ_ONLY: Explained(
        "it is a replica, which takes no writes", "name the primary in the URL, or wait for the end of the failover"
    ),
    UnavailableReason.STARTING: Explained("it is still reading its data from disk", "wait until it has"),
    UnavailableReason.BUSY: Explained(
        "a script has kept it from everything else for too long", "end that with SCRIPT KILL, or wait for its end"
    ),
    UnavailableReason.TOO_MANY_CONNECTIONS: Explained(
        "it has as many connections as it may have", "raise maxclients, or close connections of others (CLIENT LIST)"
    ),
    UnavailableReason.WRONG_PASSWORD: Explained(
        "the user name or the password is wrong, or one is needed", "correct them in the URL"
    ),
    UnavailableReason.PASSWORD_NEEDED: Explained(
        "the user name or the password is wrong, or one is needed", "give them in the URL"
    ),
    UnavailableReason.FORBIDDEN: Explained(
        "this account may not do what was asked",
        "allow it with ACL SETUSER; `streamguard doctor` lists what is lacking",
    ),
    UnavailableReason.PROTECTED_MODE: Explained(
        "it serves its own machine alone (protected mode)", "give it a password, or bind it to the right address"
    ),
    UnavailableReason.COMMAND_UNKNOWN: Explained(
        "it does not know a command that streams need",
        "use Redis 6.2 or later, with its commands under their own names",
    ),
    UnavailableReason.NO_DATABASE: Explained(
        "it has no database of that number", "correct the number in the URL, or raise `databases`"
    ),
    UnavailableReason.TOO_FEW_REPLICAS: Explained(
        "too few of its replicas are in step (min-replicas-to-write)", "bring replicas back, or lower that setting"
    ),
    UnavailableReason.MASTER_DOWN: Explained(
        "it is a replica whose master is away", "name the primary in the URL, or bring it back"
    ),
    UnavailableReason.CLUSTER_DOWN: Explained(
        "the cluster is down, or no server has this slot",
        "bring its masters back; `redis-cli --cluster check` says more",
    ),
    UnavailableReason.SLOT_MOVED: Explained(
        "it is part of a cluster, another server of which has that slot",
        "name it by redis+cluster:// or rediss+cluster://; under such a URL, wait until the slot has moved",
    ),
    UnavailableReason.TRY_AGAIN: Explained("the cluster is moving this slot", "wait until it has"),
    UnavailableReason.NO_CLUSTER: Explained("it is a single server, no cluster", "name it by redis:// or rediss://"),
    UnavailableReason.CONNECTION_REFUSED: Explained(
        "nothing listens at its address", "start Redis, or correct host and port in the URL"
    ),
    UnavailableReason.CONNECTION_LOST: Explained(
        "the connection was cut",
        "the log of Redis says whether it restarted; else look at proxies and timeouts between",
    ),
    UnavailableReason.TIMEOUT: Explained(
        "no answer came within command_seconds",
        "look at Redis's load (SLOWLOG GET), at the network, and, with a rediss:// URL, whether Redis speaks TLS",
    ),
    UnavailableReason.UNREACHABLE: Explained(
        "there is no way to it", "look at the network, at firewalls, and at the address in the URL"
    ),
    UnavailableReason.HOST_UNKNOWN: Explained(
        "the name of its host cannot be resolved", "correct the host in the URL, or look at DNS"
    ),
    UnavailableReason.TLS_FAILED: Explained(
        "TLS failed: a certificate is not valid or not trusted, or it does not speak TLS",
        "look at the certificates, at the ssl_ options of the URL, and at its scheme (redis:// or rediss://)",
    ),
    UnavailableReason.TOO_MANY_FILES: Explained(
        "this process may not open another connection", "raise its limit of open files (ulimit -n)"
    ),
    UnavailableReason.WRONG_SERVER: Explained(
        "what answers there is no Redis, or wants TLS", "correct host, port and scheme of the URL"
    ),
    UnavailableReason.NO_SENTINEL: Explained(
        "no sentinel answers", "start them, or correct their addresses in the URL"
    ),
    UnavailableReason.SENTINEL_LOGIN: Explained(
        "the sentinels want other credentials", "give sentinel_username and sentinel_password in the URL"
    ),
    UnavailableReason.UNKNOWN_SERVICE: Explained("no sentinel knows the service", "correct its name in the URL"),
    UnavailableReason.NO_MASTER: Explained(
        "the server that the sentinels name is no master, or not yet", "wait for the end of the failover"
    ),
    UnavailableReason.CLOSED: Explained("the store was closed in this process", "nothing: its guard has stopped"),
    UnavailableReason.OTHER: Explained(
        "Redis gave a reason that streamguard does not know", "look into the log of Redis"
    ),
}
"""Every reason that this store gives."""


def codes_of(reason: UnavailableReason) -> list[str]:
    """The codes of error replies that mean it."""
    return [code for code, meant in _BY_CODE.items() if meant is reason]


def error_code(error: Exception) -> str:
    """The first word of an error reply. Redis 6.2 hides the code of an error within a script in the middle of its
    text."""
    text = str(error)
    found = _HIDDEN.search(text)
    return found[0] if found else text.partition(" ")[0]


def reason_of_reply(error: Exception) -> UnavailableReason:
    """What an error reply means."""
    by_code = _BY_CODE.get(error_code(error))
    if by_code is not None:
        return by_code
    text = str(error)
    return next((reason for found, reason in _BY_TEXT.items() if found.search(text)), UnavailableReason.OTHER)


def why_closed(replies: Sequence[object]) -> Exception | None:
    """What a server said before it closed the connection because of that, if it is the last of `replies`."""
    for last in replies[-1:]:
        if isinstance(last, Exception) and reason_of_reply(last) in _PARTING:
            return last
    return None


def explained(reason: UnavailableReason) -> str:
    """What it means, and what to do."""
    meaning, advice = EXPLAINED[reason]
    return f"{meaning}; {advice}"


def refused_text(error: Exception) -> str:
    """What an error reply says, in our own words, with what to do."""
    code, reason = error_code(error), reason_of_reply(error)
    shown = code if code in _SHOWN else UnavailableReason.OTHER
    if reason is UnavailableReason.FORBIDDEN:
        return f"Redis refused ({shown}): {_forbidden(error)}; {EXPLAINED[reason].advice}"
    return f"Redis refused ({shown}): {explained(reason)}"


def _forbidden(error: Exception) -> str:
    text = str(error)
    command = _COMMAND.search(text)
    if command is not None:
        return f"this account may not run {command[1].upper()}"
    if "channel" in text:
        return "this account may not use the namespace's channels"
    if "key" in text:
        return "this account may not use the namespace's keys"
    return "this account may not run one of the commands"
