"""Whom this service calls: nothing inside a network that nobody named, and of the hosts that rules name those that are allowed.

A host is judged when it is asked for, and each of its addresses when it is about to be connected to: what a name resolves to may
have changed since it was looked at (DNS rebinding).
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal
from urllib.parse import urlsplit

from shared.errors import PermanentError
from shared.settings import ALLOWED_HOSTS, PRIVATE_HOSTS, Settings, in_list

log: Final = logging.getLogger("switchyard")

type _Ip = IPv4Address | IPv6Address
type _Network = IPv4Network | IPv6Network
type Where = Literal["public", "inside", "here", "never"]
"""Of an address: on the internet; in somebody's own network; on this very machine; where machines are handed their secrets."""

_WIRE: Final = ip_address("168.63.129.16")
"""Azure's own address beside each machine: it answers with goal states and certificates, and counts as public."""

_NAT64: Final = ip_network("64:ff9b::/96")
_COMPATIBLE: Final = ip_network("::/96")
_CARRIER: Final = ip_network("100.64.0.0/10")

_AZURE: Final = (
    *("azure.com", "azure.us", "azure.cn", "azure.net", "windows.net", "usgovcloudapi.net", "chinacloudapi.cn"),
    *("azuresynapse.net", "azuresynapse.us", "azuresynapse.azure.cn", "azureml.ms"),
)
"""Below these are Azure's services, to which a private endpoint gives an address inside."""

_TAKES_TOKENS: Final = (
    *("eventgrid.azure.net", "eventgrid.azure.us", "eventgrid.azure.cn"),
    *("blob.core.windows.net", "blob.core.usgovcloudapi.net", "blob.core.chinacloudapi.cn"),
    *("dfs.core.windows.net", "dfs.core.usgovcloudapi.net", "dfs.core.chinacloudapi.cn"),
)
"""Whose hosts only Microsoft answers for: of a topic that a rule names, and of the storage account of a Data asset."""


def where(ip: _Ip) -> Where:
    """An address within an address (IPv4 in IPv6, however it is spelled) counts as what it leads to."""
    if isinstance(ip, IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and (ip in _NAT64 or (ip in _COMPATIBLE and int(ip) > 1)):
            inner = IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return where(inner)
    if ip.is_link_local or ip.is_multicast or ip == _WIRE:
        return "never"
    if ip.is_loopback or ip.is_unspecified:
        return "here"
    if ip in _CARRIER or not ip.is_global or ip.is_reserved or (isinstance(ip, IPv6Address) and ip.is_site_local):
        return "inside"
    return "public"


@dataclass(frozen=True)
class Reach:
    """`allowed`: of the hosts that rules name, empty for all. `named`: hosts that may be inside, by a setting, with their
    networks. `rules`: whether rules name who is called; else settings do, and Azure itself in its answers.
    """

    allowed: tuple[str, ...] = ()
    named: frozenset[str] = frozenset()
    patterns: tuple[str, ...] = ()
    networks: tuple[_Network, ...] = ()
    suffixes: tuple[str, ...] = ()
    rules: bool = True

    def check(self, host: str) -> None:
        """Raises PermanentError, which names the setting, for a host that is not to be called. What a name resolves to is not
        known here.
        """
        host = plain(host)
        ip = address_of(host)
        if self.rules and self.allowed and host not in self.named and not in_list(host, self.allowed):
            raise PermanentError(f"the host {host} is not on the list of {ALLOWED_HOSTS}: nothing was sent")
        if ip is not None:
            self.check_address(host, ip)

    def check_address(self, host: str, ip: _Ip) -> None:
        """Raises PermanentError where nothing may be sent to this address of this host."""
        host, found = plain(host), where(ip)
        if found == "public":
            return
        if found == "never":
            raise PermanentError(
                f"the host {host} has an address where machines are handed their own tokens: it is never called"
            )
        if any(ip in network for network in self.networks if network.version == ip.version) or self._may(host, found):
            return
        kind = "an address of this machine itself" if found == "here" else "an address inside a private network"
        raise PermanentError(
            f"the host {host} has {kind}: nothing was sent. If that is meant, name the host, or its network, in {PRIVATE_HOSTS}"
        )

    def _may(self, host: str, found: Where) -> bool:
        if host in self.named or in_list(host, self.patterns):
            return True
        # A private endpoint; and Azure's own answers name scoring addresses inside, of a cluster for example.
        return found == "inside" and (below(host, _AZURE + self.suffixes) or not self.rules)

    def trusted(self, host: str) -> bool:
        """Whether a token of this app's identity may be shown there."""
        host = plain(host)
        return host in self.named or below(host, self.suffixes) or below(host, _TAKES_TOKENS)


def of(settings: Settings, *, rules: bool) -> Reach:
    """From the settings. The hosts that they name themselves are meant: a sovereign cloud, an enterprise's own GitHub, the
    simulated Azure.
    """
    addresses = (
        *(settings.resource_manager, settings.monitor, settings.logs, settings.authority, settings.acs_endpoint),
        *(settings.github_api, settings.devops, settings.topic, settings.config if settings.container else ""),
        *(settings.storage_blobs, settings.storage_queues, settings.storage_tables),
    )
    suffixes = (settings.synapse_suffix, settings.event_hubs_suffix, settings.blob_suffix)
    written = [one for one in suffixes if one.startswith("https://")]
    named = {plain(host) for one in (*addresses, *written) if (host := urlsplit(one).hostname)}
    networks: list[_Network] = []
    patterns: list[str] = []
    for one in settings.private_hosts:
        network = _network(one)
        if network is not None:
            networks.append(network)
        elif "/" in one or ":" in one:
            # Said, and left out: who mistypes this opens nothing.
            log.warning("an entry of a setting is no host and no network", extra={"setting": PRIVATE_HOSTS, "is": one})
        else:
            patterns.append(one)
    return Reach(
        allowed=settings.allowed_hosts,
        named=frozenset(named),
        patterns=tuple(patterns),
        networks=tuple(networks),
        suffixes=tuple(one for one in suffixes if not one.startswith("https://")),
        rules=rules,
    )


def _network(text: str) -> _Network | None:
    try:
        return ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None


def plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def address_of(host: str) -> _Ip | None:
    """The address that a host is written as, None for a name. A zone (`fe80::1%eth0`) makes no difference."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def below(host: str, suffixes: Iterable[str]) -> bool:
    return any(host.endswith(f".{suffix}") for suffix in suffixes)
