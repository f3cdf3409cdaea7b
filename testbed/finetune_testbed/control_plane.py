"""etcd, API server, controller manager and scheduler: their flags, and when each counts as serving."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from pathlib import Path

import yaml

from finetune_testbed import apiserver, keys
from finetune_testbed.bed import Testbed, Tier
from finetune_testbed.processes import Daemon

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
FEWER_COLLECTIONS = {"GOGC": "400", "GOMEMLIMIT": "4GiB"}
"""Memory for processor time: at Go's default a fifth of the API server's time is its collector's, on cores that tests share with it.

Above the limit it collects as by default: 10,000 objects of 16 KB took 10 GB without one.
"""


def write_configuration(bed: Testbed) -> None:
    """Kubeconfigs and configuration files of the control plane; the same bytes on every call."""
    bed.config.mkdir(parents=True, exist_ok=True)
    keys.write_kubeconfig(bed, bed.kubeconfig, "admin", bed.apiserver_url)
    for component in ("controller-manager", "scheduler", "kwok"):
        keys.write_kubeconfig(bed, kubeconfig_of(bed, component), component, bed.apiserver_url)
    (bed.config / "audit-policy.yaml").write_text(yaml.safe_dump(AUDIT_POLICY))
    scheduler = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {
            "kubeconfig": str(kubeconfig_of(bed, "scheduler")),
            "qps": bed.settings.controller_qps,
            "burst": bed.settings.controller_burst,
        },
    }
    (bed.config / "scheduler.yaml").write_text(yaml.safe_dump(scheduler))


def kubeconfig_of(bed: Testbed, component: str) -> Path:
    return bed.config / f"{component}.kubeconfig"


def etcd(bed: Testbed, programs: Mapping[str, Path]) -> Daemon:
    client, peer = (f"https://127.0.0.1:{port}" for port in (bed.ports.etcd_client, bed.ports.etcd_peer))
    certificates = [
        flag
        for side in ("", "peer-")
        for flag in (
            f"--{side}cert-file={bed.pki / 'etcd.crt'}",
            f"--{side}key-file={bed.pki / 'etcd.key'}",
            f"--{side}trusted-ca-file={bed.pki / 'etcd-ca.crt'}",
            f"--{side}client-cert-auth=true",
        )
    ]
    argv = (
        str(programs["etcd"]),
        f"--name={bed.name}",
        f"--data-dir={bed.state_dir / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={bed.name}={peer}",
        f"--quota-backend-bytes={4 * 1024**3}",
        "--auto-compaction-retention=5m",
        *certificates,
        *(() if bed.settings.fsync else ("--unsafe-no-fsync=true",)),
    )
    return Daemon("etcd", argv, lambda: _probe_etcd(bed))


def kube_apiserver(bed: Testbed, programs: Mapping[str, Path]) -> Daemon:
    """The API server; on all addresses only where a node behind the link has to reach it."""
    pki = bed.pki
    argv = (
        str(programs["kube-apiserver"]),
        f"--bind-address={'0.0.0.0' if bed.tier is Tier.T3 else '127.0.0.1'}",  # noqa: S104
        f"--secure-port={bed.ports.apiserver}",
        f"--advertise-address={bed.subnets.host}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--etcd-servers=https://127.0.0.1:{bed.ports.etcd_client}",
        f"--etcd-cafile={pki / 'etcd-ca.crt'}",
        f"--etcd-certfile={pki / 'etcd-client.crt'}",
        f"--etcd-keyfile={pki / 'etcd-client.key'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--service-cluster-ip-range={bed.subnets.services}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki / 'service-account.pub'}",
        f"--service-account-signing-key-file={pki / 'service-account.key'}",
        f"--kubelet-client-certificate={pki / 'apiserver-kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'apiserver-kubelet-client.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki / 'front-proxy-client.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy-client.key'}",
        # Pods of a lost node are evicted after 10 s, not 300 s: node loss is something tests do.
        "--default-not-ready-toleration-seconds=10",
        "--default-unreachable-toleration-seconds=10",
        f"--audit-policy-file={bed.config / 'audit-policy.yaml'}",
        f"--audit-log-path={bed.audit_log}",
        "--audit-log-maxsize=1024",
        "--audit-log-maxbackup=3",
        "--profiling=false",
        *bed.settings.apiserver_flags,
    )
    return Daemon("kube-apiserver", argv, lambda: apiserver.probe(bed), environment=FEWER_COLLECTIONS, ready_seconds=120)


def kube_controller_manager(bed: Testbed, programs: Mapping[str, Path]) -> Daemon:
    settings, pki = bed.settings, bed.pki
    argv = (
        str(programs["kube-controller-manager"]),
        *_component_flags(bed, "controller-manager", bed.ports.controller_manager),
        f"--kubeconfig={kubeconfig_of(bed, 'controller-manager')}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={pki / 'service-account.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
        # The defaults (20/30 and 5) hold the Job controller to about 8 Jobs/s; see README.md.
        f"--kube-api-qps={settings.controller_qps}",
        f"--kube-api-burst={settings.controller_burst}",
        f"--concurrent-job-syncs={settings.job_syncs}",
        "--horizontal-pod-autoscaler-sync-period=2s",  # 15 s by default, and the same before its first look
    )
    return Daemon(
        "kube-controller-manager",
        argv,
        lambda: _probe_component(bed, "controller-manager", bed.ports.controller_manager),
        environment=FEWER_COLLECTIONS,
    )


def kube_scheduler(bed: Testbed, programs: Mapping[str, Path]) -> Daemon:
    argv = (
        str(programs["kube-scheduler"]),
        *_component_flags(bed, "scheduler", bed.ports.scheduler),
        f"--config={bed.config / 'scheduler.yaml'}",
    )
    return Daemon("kube-scheduler", argv, lambda: _probe_component(bed, "scheduler", bed.ports.scheduler))


def _component_flags(bed: Testbed, component: str, port: int) -> tuple[str, ...]:
    kubeconfig = kubeconfig_of(bed, component)
    return (
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--tls-cert-file={bed.pki / f'{component}.crt'}",
        f"--tls-private-key-file={bed.pki / f'{component}.key'}",
    )


def _probe_etcd(bed: Testbed) -> str | None:
    context = ssl.create_default_context(cafile=bed.pki / "etcd-ca.crt")
    context.load_cert_chain(bed.pki / "etcd-client.crt", bed.pki / "etcd-client.key")
    answer = _get(bed.ports.etcd_client, "/health", context)
    if not answer.startswith("{"):
        return answer
    return None if json.loads(answer).get("health") == "true" else answer


def _probe_component(bed: Testbed, component: str, port: int) -> str | None:
    context = ssl.create_default_context(cafile=bed.pki / "ca.crt")
    answer = _get(port, "/healthz", context)
    # The whole body: a failing verbose body also contains the word.
    return None if answer == "ok" else f"{component}: {answer}"


def _get(port: int, path: str, context: ssl.SSLContext) -> str:
    """The body of a GET on loopback, or in words why there is none."""
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
