"""What one testbed is: its name, its places, its ports and its addresses, as plain values that every part shares.

Nothing here does I/O: `state` loads and stores a testbed, `lifecycle` starts and stops one.
"""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
"""The folder `testbed/` of the checkout: wrapper modules, stages, image recipes."""


class Tier(enum.StrEnum):
    """How much of a cluster runs; each tier contains the one before it, but T3 has a real node in place of kwok's."""

    T1 = "T1"
    T2 = "T2"
    T3 = "T3"

    @property
    def level(self) -> int:
        return int(self.value[1:])


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be."""

    component: str
    message: str

    def __str__(self) -> str:
        return f"{self.component}: {self.message}"


@dataclass(frozen=True)
class Ports:
    """TCP ports on the host side, free when the testbed was created."""

    etcd_client: int
    etcd_peer: int
    apiserver: int
    controller_manager: int
    scheduler: int
    kwok: int


@dataclass(frozen=True)
class Subnets:
    """Address ranges of one testbed, all inside one 10.x.0.0/16 so that two testbeds never overlap.

    `slot` (0-31) numbers the testbeds of a host; it also makes short unique names for links and namespaces.
    """

    slot: int

    @property
    def _octet(self) -> int:
        return 200 + self.slot

    @property
    def everything(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(f"10.{self._octet}.0.0/16")

    @property
    def pods(self) -> ipaddress.IPv4Network:
        """Pod addresses of the one real node; the bridge has the first address."""
        return ipaddress.IPv4Network(f"10.{self._octet}.0.0/20")

    @property
    def fake_pods(self) -> ipaddress.IPv4Network:
        """Addresses of T2's pods, which run nothing.

        They lie on loopback, so that a connection is refused at once instead of timing out somewhere, and so that a
        test can serve what such a pod would.
        """
        return ipaddress.IPv4Network(f"127.{self._octet}.0.0/20")

    @property
    def services(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(f"10.{self._octet}.128.0/20")

    @property
    def link(self) -> ipaddress.IPv4Network:
        """The veth pair between the host and the node's network namespace."""
        return ipaddress.IPv4Network(f"10.{self._octet}.192.0/30")

    @property
    def kubernetes_service(self) -> ipaddress.IPv4Address:
        return self.services[1]

    @property
    def dns_service(self) -> ipaddress.IPv4Address:
        return self.services[10]

    @property
    def bridge_gateway(self) -> ipaddress.IPv4Address:
        return self.pods[1]

    @property
    def host(self) -> ipaddress.IPv4Address:
        """The host's end of the link: where the node and its pods reach the API server."""
        return self.link[1]

    @property
    def node(self) -> ipaddress.IPv4Address:
        """The node's end of the link: the node's InternalIP."""
        return self.link[2]


@dataclass(frozen=True)
class Settings:
    """What a user may choose; kept with the testbed, so that a plain second `up` changes nothing."""

    tier: Tier = Tier.T1
    fake_nodes: int = 10
    gpus_per_node: int = 8
    gpu_resource: str = "nvidia.com/gpu"
    gpu_taint: bool = False
    stages: str = ""
    """Folder with kwok Stages; empty means the testbed's own."""
    fsync: bool = True
    apiserver_flags: tuple[str, ...] = ()
    controller_qps: int = 200
    controller_burst: int = 400
    job_syncs: int = 20


@dataclass(frozen=True)
class Testbed:
    """One testbed. Host processes use `kubeconfig`; what runs behind the link uses `node_apiserver_url`."""

    __test__ = False  # pytest takes classes that are called Test... for tests

    name: str
    state_dir: Path
    cache_dir: Path
    ports: Ports
    subnets: Subnets
    settings: Settings = field(default_factory=Settings)

    @property
    def tier(self) -> Tier:
        return self.settings.tier

    @property
    def pki(self) -> Path:
        """Keys and certificates: `ca.crt`, `NAME.crt`, `NAME.key`, `service-account.{key,pub}`."""
        return self.state_dir / "pki"

    @property
    def logs(self) -> Path:
        return self.state_dir / "logs"

    @property
    def run(self) -> Path:
        """Process records."""
        return self.state_dir / "run"

    @property
    def config(self) -> Path:
        """Kubeconfigs of the components and generated configuration files."""
        return self.state_dir / "config"

    @property
    def node_dir(self) -> Path:
        """Everything of the real node: containerd root, kubelet root, CNI files."""
        return self.state_dir / "node"

    @property
    def kubeconfig(self) -> Path:
        return self.state_dir / "admin.kubeconfig"

    @property
    def audit_log(self) -> Path:
        return self.logs / "audit.jsonl"

    @property
    def apiserver_url(self) -> str:
        return f"https://127.0.0.1:{self.ports.apiserver}"

    @property
    def node_apiserver_url(self) -> str:
        return f"https://{self.subnets.host}:{self.ports.apiserver}"

    @property
    def node_name(self) -> str:
        """The Node object of T3's real node."""
        return f"{self.name}-node"

    @property
    def link_name(self) -> str:
        """A unique prefix for links and the network namespace; interface names have at most 15 characters."""
        return f"ftb{self.subnets.slot}"
