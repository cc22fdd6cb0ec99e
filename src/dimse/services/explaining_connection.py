"""The addresses of an archive's host, and TCP connections to them."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from dimse.address import DEFAULT_PORT, Address
from dimse.network.probing import Endpoint, reach, resolve
from dimse.services.explanation import (
    ExplainAdvice,
    ExplainStep,
    ExplainStepName,
    ExplainVerdict,
    here,
    in_between,
    on_archive,
)

MAXIMUM_ADDRESSES: Final = 8
"""Addresses of a host that are tried."""

_FAMILIES: Final = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}


@dataclass(frozen=True, slots=True)
class Tried:
    """One address and its connection."""

    endpoint: Endpoint
    milliseconds: float
    error: OSError | None = None


async def name(address: Address, seconds: float) -> tuple[ExplainStep, list[Endpoint]]:
    """Look up the host. Without addresses the step has failed."""
    try:
        found = await resolve(address.host, address.port, seconds)
    except TimeoutError:
        words = f"no answer from the name server in {seconds:g} s"
        advice = in_between("see whether the name server of this host can be reached (/etc/resolv.conf)")
    except socket.gaierror as error:
        words = f"the name is not known ({error.strerror})"
        advice = here("check the spelling of the host; with its IP address no name server is needed")
        if error.errno == socket.EAI_AGAIN:
            words = f"the name server gave no answer ({error.strerror})"
            advice = in_between("see whether the name server of this host can be reached (/etc/resolv.conf)")
    except (OSError, UnicodeError):
        words, advice = "this is not a host name", here("check the spelling of the host")
    else:
        listed = ", ".join(str(each.address[0]) for each in found[:MAXIMUM_ADDRESSES])
        facts = {"host": address.host, "addresses": [str(each.address[0]) for each in found[:MAXIMUM_ADDRESSES]]}
        return ExplainStep(
            ExplainStepName.NAME, ExplainVerdict.OK, listed, f"the addresses of {address.host}", facts=facts
        ), found
    facts = {"host": address.host, "addresses": []}
    return ExplainStep(
        ExplainStepName.NAME, ExplainVerdict.FAILED, words, f"the addresses of {address.host}", (advice,), facts
    ), []


async def connection(
    address: Address, endpoints: Sequence[Endpoint], seconds: float
) -> tuple[ExplainStep, Tried | None]:
    """Connect to each of the addresses, at the same time. Returns the first that can be reached, in their order."""
    tried = await asyncio.gather(*(_try(each, seconds) for each in endpoints[:MAXIMUM_ADDRESSES]))
    reached = [each for each in tried if each.error is None]
    facts = {
        "port": address.port,
        "tried": [
            {
                "address": str(each.endpoint.address[0]),
                "connected": each.error is None,
                "ms": round(each.milliseconds, 3),
                "error": None if each.error is None else _reason(each.error),
            }
            for each in tried
        ],
    }
    asked = f"TCP to port {address.port}"
    if not reached:
        words, advice = _failed(tried, address, seconds)
        return ExplainStep(ExplainStepName.CONNECTION, ExplainVerdict.FAILED, words, asked, advice, facts), None
    first = reached[0]
    words = f"{first.endpoint} in {first.milliseconds:.1f} ms"
    advice = tuple(
        in_between(
            f"{_FAMILIES.get(each.endpoint.family, 'another')} address {each.endpoint}: {_reason(each.error)}; "
            "each connection that tries it first loses time",
        )
        for each in tried
        if each.error is not None
    )
    if advice:
        words += f"; {len(tried) - len(reached)} of {len(tried)} addresses cannot be reached"
    verdict = ExplainVerdict.NOTE if advice else ExplainVerdict.OK
    return ExplainStep(ExplainStepName.CONNECTION, verdict, words, asked, advice, facts), first


async def _try(endpoint: Endpoint, seconds: float) -> Tried:
    start, error = perf_counter(), None
    try:
        (await reach(endpoint, seconds)).close()
    except OSError as failure:  # a TimeoutError is one
        error = failure
    return Tried(endpoint, (perf_counter() - start) * 1000, error)


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    return os.strerror(error.errno).lower() if error.errno else str(error)


def _failed(tried: Sequence[Tried], address: Address, seconds: float) -> tuple[str, tuple[ExplainAdvice, ...]]:
    errors = [each.error for each in tried if each.error is not None]
    refused = [error for error in errors if error.errno == errno.ECONNREFUSED]
    where = f"port {address.port} of {address.host}"
    if refused:
        return f"{where} refuses connections: nothing listens there", (
            on_archive(
                f"see whether its DICOM service runs, listens on port {address.port}, and not on localhost only",
            ),
            here(
                f"check the port in the address; usual ones are 104, {DEFAULT_PORT} and, with TLS, 2762",
            ),
        )
    if all(isinstance(error, TimeoutError) for error in errors):
        return f"no answer from {where} in {seconds:g} s", (
            in_between(
                f"a firewall drops connections to port {address.port}, or the host is off or has another address",
            ),
            on_archive(
                f"see whether it is on, and whether its firewall lets this host in on port {address.port}",
            ),
        )
    return f"{where} cannot be reached: {', '.join(dict.fromkeys(map(_reason, errors)))}", (
        in_between("there is no route from this host to the archive: check the network, VPN and firewalls"),
    )
