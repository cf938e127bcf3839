"""Settings: flags, then `LAMELLA_*`, then `lamella.toml`, then defaults.

This module and the command line are the only readers of the environment.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path

from lamella.errors import InvalidRequest

CONFIG_FILE = "lamella.toml"
MOST = {
    "workers": 256,
    "dimse_processes": 64,
    "dimse_associations": 10_000,
    "dimse_timeout": 86_400,
}
MOST_OR_NONE = {"dimse_peer_associations": 10_000, "dimse_peer_rate": 1_000_000}
"""Numbers of which 0 means that there is no bound."""
LEAST_CACHE_BYTES = 64 << 20
LEAST_GC_EVERY_S = 3_600
AE_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")  # PS3.5 §6.2, AE: no backslash, no control

_SIZE = re.compile(r"([0-9]{1,15}) ?(|[kKmMgGtT]i?)[bB]?")
_UNITS = {
    prefix + infix: base**power
    for infix, base in (("", 1000), ("i", 1024))
    for power, prefix in enumerate("kmgt", 1)
} | {"": 1}
_DURATION = re.compile(r"([0-9]{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_ORIGIN = re.compile(r"https?://[^/?#\s,]+/?")
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Address:
    """Where a door is bound."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Settings:
    """What an installation is told; see the table in `docs/configuration.md`."""

    data_dir: Path = Path("lamella-data")
    http: str = "127.0.0.1:8042"
    dimse: str = "127.0.0.1:11112"
    aet: str = "LAMELLA"
    database_url: str = ""
    storage_url: str = ""
    s3_endpoint_url: str = ""
    s3_cache: str = "4GiB"
    redis_url: str = ""
    gc_every: str = "off"
    warm_up: str = "off"
    workers: int = 1
    dimse_processes: int = 1
    dimse_associations: int = 250
    dimse_peer_associations: int = 0
    dimse_peer_rate: int = 0
    dimse_timeout: int = 60
    dimse_transfer_syntaxes: str = ""
    dimse_tls_cert: str = ""
    dimse_tls_key: str = ""
    dimse_tls_ca: str = ""
    dimse_users: str = ""
    dimse_jwt: str = ""
    dimse_jwt_audience: str = ""
    auth: str = "none"
    public_url: str = ""
    trusted_proxies: str = "127.0.0.1,::1"
    cors_origins: str = "local"
    max_request: str = ""
    max_instance: str = ""
    insecure: bool = False
    calling_aets: str = ""
    log_level: str = "info"
    deid_dir: str = ""
    deid_secret: str = field(default="", repr=False)

    @property
    def http_address(self) -> Address:
        return parse_address(self.http, "LAMELLA_HTTP")

    @property
    def dimse_address(self) -> Address | None:
        """The DIMSE bind, or None where it is `off`."""
        return None if self.dimse.lower() == "off" else parse_address(self.dimse, "LAMELLA_DIMSE")

    @property
    def is_single_process(self) -> bool:
        """Whether the server's own process does everything (decoders apart)."""
        return self.workers == 1 and (self.dimse_processes == 1 or self.dimse_address is None)

    @property
    def allowed_calling_aets(self) -> frozenset[str]:
        """Calling AE titles that may associate; empty means any."""
        return _split(self.calling_aets)

    @property
    def private_transfer_syntaxes(self) -> frozenset[str]:
        """UIDs of transfer syntaxes besides the standard's, in which C-STORE is accepted."""
        return _split(self.dimse_transfer_syntaxes)

    def trusts_proxy(self, host: str) -> bool:
        """Tell whether a peer's `X-Forwarded-*` and `Forwarded` headers are believed."""
        return _lies_within(host, self.trusted_proxies)

    @property
    def allowed_origins(self) -> frozenset[str]:
        """Origins whose pages may read answers; `local` and `*` stand for many."""
        return _split(self.cors_origins) - {"off"}

    @property
    def deid_folder(self) -> Path:
        """Where project keys and identifier maps are; outside of every dataset."""
        return Path(self.deid_dir).expanduser() if self.deid_dir else self.data_dir / "deid"

    @property
    def max_request_bytes(self) -> int | None:
        """How long the body of a store may be; None for no bound."""
        return parse_size(self.max_request, "LAMELLA_MAX_REQUEST")

    @property
    def s3_cache_bytes(self) -> int:
        """How much of the packs in S3 is kept on the local disk, in bytes.

        Raises:
            InvalidRequest: It is neither `off` nor a size that holds some chunks of packs.
        """
        return _parse_cache(self.s3_cache)

    @property
    def warms_up(self) -> bool:
        """Whether metadata and thumbnails are made after a commit, before anybody asks."""
        return self.warm_up.strip().lower() == "on"

    @property
    def gc_every_s(self) -> int | None:
        """How often gc is run, in seconds; None for never."""
        if self.gc_every.strip().lower() == "off":
            return None
        return parse_duration(self.gc_every, "LAMELLA_GC_EVERY")

    @property
    def max_instance_bytes(self) -> int | None:
        """How long an instance may be; None for no bound."""
        return parse_size(self.max_instance, "LAMELLA_MAX_INSTANCE")

    def check_exposure(self) -> None:
        """Refuse to open a door to the network that nothing guards.

        Raises:
            InvalidRequest: A bind beyond loopback has no authentication.
        """
        if self.insecure:
            return
        if self.auth == "none" and not self.http_address.is_loopback:
            raise InvalidRequest(
                f"HTTP on {self.http} would be open to the network without authentication: "
                "set LAMELLA_AUTH, bind to 127.0.0.1, or set LAMELLA_INSECURE=1."
            )
        dimse = self.dimse_address
        is_guarded = bool(self.allowed_calling_aets or (self.dimse_tls_cert and self.dimse_tls_ca))
        if dimse is not None and not dimse.is_loopback and not is_guarded:
            raise InvalidRequest(
                f"DIMSE on {self.dimse} would be open to the network: set LAMELLA_DIMSE_TLS_CERT "
                "and LAMELLA_DIMSE_TLS_CA, or LAMELLA_CALLING_AETS, bind to 127.0.0.1, or set "
                "LAMELLA_INSECURE=1."
            )


def load_settings(
    flags: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Merge flags, environment, `lamella.toml` in `folder` and defaults, in that order.

    Args:
        flags: Values from the command line by field name; None means not given.
        environ: The environment; `os.environ` when None.
        folder: Where `lamella.toml` is looked for; the working directory when None.

    Raises:
        InvalidRequest: A value cannot be understood, or `lamella.toml` has an unknown key.
    """
    environ = os.environ if environ is None else environ
    names = [member.name for member in fields(Settings)]
    merged: dict[str, str] = _read_config_file((folder or Path.cwd()) / CONFIG_FILE, names)
    for name in names:
        value = environ.get(f"LAMELLA_{name.upper()}")
        if value:
            merged[name] = value
    merged |= {name: flag for name, flag in (flags or {}).items() if flag is not None}
    return _build_settings(merged)


def parse_address(text: str, name: str) -> Address:
    """Parse `host:port` or `[v6]:port`.

    Raises:
        InvalidRequest: It is neither.
    """
    host, separator, port = text.strip().rpartition(":")
    host = host.strip("[]")
    if not separator or not host or not port.isdigit() or int(port) > 65535:
        raise InvalidRequest(f"{name} must be HOST:PORT, not {text!r}.")
    return Address(host, int(port))


@lru_cache(maxsize=8)
def parse_size(text: str, name: str) -> int | None:
    """Parse a number of bytes, such as `500000000`, `500MB` or `2GiB`; None for none or `off`.

    Raises:
        InvalidRequest: It is no such number.
    """
    if text.strip().lower() in ("", "off"):
        return None
    match = _SIZE.fullmatch(text.strip())
    size_bytes = int(match[1]) * _UNITS[match[2].lower()] if match else 0
    if not size_bytes:
        raise InvalidRequest(f"{name} must be a size such as 500MB or 2GiB, not {text!r}.")
    return size_bytes


def parse_duration(text: str, name: str) -> int:
    """Parse a time such as `90m`, `36h` or `7d`; return it in seconds.

    Raises:
        InvalidRequest: It is none.
    """
    match = _DURATION.fullmatch(text.strip())
    if not match or not int(match[1]):
        raise InvalidRequest(f"{name} must be a time such as 90m, 36h or 7d, not {text!r}.")
    return int(match[1]) * _SECONDS[match[2]]


def _read_config_file(path: Path, names: list[str]) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path.name} is not valid TOML: {error}.") from error
    unknown = sorted(set(content) - set(names))
    if unknown:
        raise InvalidRequest(f"{path.name} has unknown keys: {', '.join(unknown)}.")
    return {name: _to_text(value) for name, value in content.items()}


def _to_text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return str(value)


def _build_settings(merged: Mapping[str, str]) -> Settings:
    settings = Settings(
        **{  # type: ignore[arg-type]
            name: _convert(name, value) for name, value in merged.items()
        }
    )
    if settings.auth not in ("none", "token", "oidc"):
        raise InvalidRequest(f"LAMELLA_AUTH must be none, token or oidc, not {settings.auth!r}.")
    if not AE_TITLE.fullmatch(settings.aet) or not settings.aet.strip():
        raise InvalidRequest("LAMELLA_AET must be 1 to 16 characters without a backslash.")
    parse_address(settings.http, "LAMELLA_HTTP")
    parse_size(settings.max_request, "LAMELLA_MAX_REQUEST")
    parse_size(settings.max_instance, "LAMELLA_MAX_INSTANCE")
    _parse_cache(settings.s3_cache)
    _check_gc(settings)
    if settings.warm_up.strip().lower() not in ("on", "off"):
        raise InvalidRequest("LAMELLA_WARM_UP must be on or off.")
    _parse_networks(settings.trusted_proxies)
    _check_transfer_syntaxes(settings.private_transfer_syntaxes)
    for origin in settings.allowed_origins - {"local", "*"}:
        if not _ORIGIN.fullmatch(origin):
            raise InvalidRequest(
                "LAMELLA_CORS_ORIGINS must be off, local, * or origins such as "
                f"https://viewer.example.org, not {origin!r}."
            )
    if settings.dimse.lower() != "off":
        parse_address(settings.dimse, "LAMELLA_DIMSE")
    return settings


def _convert(name: str, value: str) -> object:
    if name == "data_dir":
        return Path(value).expanduser()
    if name in MOST:
        return _parse_count(name, value, 1, MOST[name])
    if name in MOST_OR_NONE:
        return _parse_count(name, value, 0, MOST_OR_NONE[name])
    if name == "insecure":
        return value.strip().lower() in ("1", "true", "yes", "on")
    return value


@lru_cache(maxsize=8)
def _parse_networks(text: str) -> tuple[frozenset[str], tuple[_Network, ...]]:
    """Return the hosts and the networks of a list."""
    members = [member.strip() for member in text.split(",") if member.strip()]
    try:
        networks = tuple(ipaddress.ip_network(one) for one in members if "/" in one)
    except ValueError as error:
        raise InvalidRequest(f"LAMELLA_TRUSTED_PROXIES: {error}.") from error
    return frozenset(one for one in members if "/" not in one), networks


def _lies_within(host: str, text: str) -> bool:
    hosts, networks = _parse_networks(text)
    if host in hosts or not networks:
        return host in hosts
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in networks)


def _parse_cache(text: str) -> int:
    if text.strip().lower() == "off":
        return 0
    size_bytes = parse_size(text, "LAMELLA_S3_CACHE")
    if size_bytes is None or size_bytes < LEAST_CACHE_BYTES:
        raise InvalidRequest("LAMELLA_S3_CACHE must be off, or a size of 64MiB or more.")
    return size_bytes


def _check_gc(settings: Settings) -> None:
    every_s = settings.gc_every_s
    if every_s is not None and every_s < LEAST_GC_EVERY_S:
        raise InvalidRequest("LAMELLA_GC_EVERY must be off, or an hour or more.")


def _parse_count(name: str, value: str, least: int, most: int) -> int:
    if not value.isdigit() or not least <= int(value) <= most:
        raise InvalidRequest(
            f"LAMELLA_{name.upper()} must be a number from {least} to {most}, not {value!r}."
        )
    return int(value)


def _split(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def _check_transfer_syntaxes(uids: frozenset[str]) -> None:
    for uid in uids:
        if len(uid) > 64 or not _UID.fullmatch(uid):
            raise InvalidRequest(
                f"LAMELLA_DIMSE_TRANSFER_SYNTAXES must be UIDs, by commas, not {uid!r}."
            )
