"""Certificates and keys of one testbed, made once with OpenSSL."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from finetune_testbed.bed import Testbed

VALID_DAYS = 3650
_REQUEST_CONFIG = "[req]\ndistinguished_name = dn\nprompt = no\n[dn]\nCN = unused\n"


class KeysError(RuntimeError):
    """OpenSSL refused; the message holds its words."""


@dataclass(frozen=True)
class Leaf:
    """One certificate. `groups` become organisations, which Kubernetes reads as groups of the user."""

    name: str
    user: str
    authority: str = "ca"
    groups: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


def ensure(bed: Testbed) -> None:
    """Make the whole set under `bed.pki` unless it is there.

    Raises:
        KeysError: OpenSSL refused.
    """
    complete = bed.pki / ".complete"
    if complete.exists():
        return
    bed.pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    (bed.pki / "request.cnf").write_text(_REQUEST_CONFIG)
    # Three authorities: an API client's certificate must open neither etcd nor the front-proxy door.
    for authority in ("ca", "etcd-ca", "front-proxy-ca"):
        _make_authority(bed.pki, authority)
    for leaf in leaves(bed):
        _make_leaf(bed.pki, leaf)
    key, public = bed.pki / "service-account.key", bed.pki / "service-account.pub"
    _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(key))
    _openssl("pkey", "-in", str(key), "-pubout", "-out", str(public))
    complete.touch()


def leaves(bed: Testbed) -> tuple[Leaf, ...]:
    loopback = ("DNS:localhost", "IP:127.0.0.1")
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    subnets = bed.subnets
    apiserver = (
        *loopback,
        *(f"DNS:{name}" for name in names),
        *(f"IP:{address}" for address in (subnets.kubernetes_service, subnets.host, subnets.node)),
    )
    node = (f"DNS:{bed.node_name}", f"IP:{subnets.node}", f"IP:{subnets.bridge_gateway}", "IP:127.0.0.1")
    return (
        Leaf("etcd", "etcd", authority="etcd-ca", addresses=loopback),
        Leaf("etcd-client", "kube-apiserver", authority="etcd-ca"),
        Leaf("apiserver", "kube-apiserver", addresses=apiserver),
        Leaf("front-proxy-client", "front-proxy-client", authority="front-proxy-ca"),
        Leaf("admin", "testbed-admin", groups=("system:masters",)),
        Leaf("controller-manager", "system:kube-controller-manager", addresses=loopback),
        Leaf("scheduler", "system:kube-scheduler", addresses=loopback),
        Leaf("kwok", "testbed-kwok", groups=("system:masters",)),
        Leaf("apiserver-kubelet-client", "kube-apiserver", groups=("system:masters",)),
        Leaf("kubelet", f"system:node:{bed.node_name}", groups=("system:nodes",), addresses=node),
        Leaf("kube-proxy", "system:kube-proxy"),
        Leaf("coredns", "testbed-coredns", groups=("system:masters",)),
    )


def write_kubeconfig(bed: Testbed, target: Path, leaf: str, server: str) -> Path:
    """A kubeconfig with everything inside it, readable by its owner alone; rewritten only when it differs."""

    def encoded(name: str) -> str:
        return base64.b64encode((bed.pki / name).read_bytes()).decode()

    name = f"finetune-testbed-{bed.name}"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": encoded("ca.crt")}}],
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate-data": encoded(f"{leaf}.crt"),
                    "client-key-data": encoded(f"{leaf}.key"),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
        "current-context": name,
    }
    text = yaml.safe_dump(document, sort_keys=False)
    if not target.exists() or target.read_text() != text:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch(mode=0o600)
        target.write_text(text)
    return target


def _make_authority(folder: Path, name: str) -> None:
    usage = ("basicConstraints=critical,CA:true", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature")
    _request(folder, name, f"/CN=finetune-testbed-{name}", usage, ())


def _make_leaf(folder: Path, leaf: Leaf) -> None:
    subject = "".join(f"/O={group}" for group in leaf.groups) + f"/CN={leaf.user}"
    extensions = [
        "basicConstraints=critical,CA:false",
        "keyUsage=critical,digitalSignature",
        "extendedKeyUsage=clientAuth,serverAuth" if leaf.addresses else "extendedKeyUsage=clientAuth",
    ]
    if leaf.addresses:
        extensions.append(f"subjectAltName={','.join(leaf.addresses)}")
    signer = ("-CA", str(folder / f"{leaf.authority}.crt"), "-CAkey", str(folder / f"{leaf.authority}.key"))
    _request(folder, leaf.name, subject, extensions, signer)


def _request(folder: Path, name: str, subject: str, extensions: Iterable[str], signer: Iterable[str]) -> None:
    _openssl(
        "req", "-x509", "-new", "-nodes", "-config", str(folder / "request.cnf"),
        "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", str(VALID_DAYS),
        "-subj", subject, "-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt"),
        *signer, *(part for extension in extensions for part in ("-addext", extension)),
    )  # fmt: skip


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise KeysError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
