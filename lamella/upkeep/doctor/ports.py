"""Ports: are the doors' addresses free, or in use by a Lamella?"""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from collections.abc import Sequence

from lamella.settings import Address, Settings
from lamella.upkeep.doctor.result import CheckResult, fail_with, pass_with, warn_with
from lamella.upkeep.doctor.server import find_server

ANSWER_TIMEOUT_S = 1.0
ANSWER_BYTES = 4096
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


async def check_ports(settings: Settings) -> Sequence[CheckResult]:
    """Check the addresses of both doors."""
    http, dimse = settings.http_address, settings.dimse_address
    results = [await _check_http(http)]
    if dimse is None:
        results.append(pass_with("dimse port", "The DIMSE door is off."))
    else:
        is_ours = find_server(settings.data_dir.absolute()) is not None
        results.append(await _check_dimse(dimse, is_ours))
    return results


async def _check_http(address: Address) -> CheckResult:
    name = "http port"
    trouble = _try_bind(address)
    if trouble is None:
        return pass_with(name, f"{address} is free.")
    if trouble != "":
        return fail_with(name, f"{address} cannot be used: {trouble}.")
    if await _is_lamella(address):
        return pass_with(name, f"{address} is in use by a Lamella.")
    return fail_with(name, f"{address} is in use by another program: set LAMELLA_HTTP.")


async def _check_dimse(address: Address, is_ours: bool) -> CheckResult:
    name = "dimse port"
    trouble = _try_bind(address)
    if trouble is None:
        return pass_with(name, f"{address} is free.")
    if trouble != "":
        return fail_with(name, f"{address} cannot be used: {trouble}.")
    if is_ours:
        return pass_with(name, f"{address} is in use, as it is while this folder's server runs.")
    sentence = f"{address} is in use: set LAMELLA_DIMSE unless a Lamella is running there."
    return warn_with(name, sentence)


def _try_bind(address: Address) -> str | None:
    """Return None if an address can be bound, "" if it is in use, else what is wrong."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
            probe.listen(1)
        except socket.gaierror:
            return "the name is unknown"
        except OSError as error:
            return (
                ""
                if error.errno == errno.EADDRINUSE
                else (error.strerror or "unknown reason").lower()
            )
    return None


async def _is_lamella(address: Address) -> bool:
    """Ask `/healthz`, which answers with status and version."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            answer = await _fetch_health(WILDCARDS.get(address.host, address.host), address.port)
        health = json.loads(answer.partition(b"\r\n\r\n")[2])
    except (OSError, TimeoutError, ValueError):
        return False
    return isinstance(health, dict) and health.get("status") == "ok" and "version" in health


async def _fetch_health(host: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = b""
        while len(answer) < ANSWER_BYTES and (piece := await reader.read(ANSWER_BYTES)):
            answer += piece
            if answer.rstrip().endswith(b"}"):
                break
        return answer
    finally:
        writer.close()
