"""The signing of records, as one part of the process: key, chains, anchors, and what they need of the API server."""

import logging
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.kube import KubeApi, Selection
from finetune_operator.cluster.reflector import Sink
from finetune_operator.cluster.resources import CONFIG_MAPS, NAMESPACES
from finetune_operator.control.anchors import Anchor, ConfigMaps, LogLine
from finetune_operator.control.chains import Chains
from finetune_operator.control.notary import Notary
from finetune_operator.runtime.metrics import Metrics, NamespaceGauge
from finetune_operator.runtime.preflight import PreflightFailed, Right, require_rights_in
from finetune_operator.runtime.settings import Settings
from finetune_operator.runtime.watches import watch
from finetune_record import chain, keys

log = logging.getLogger(__name__)

_RIGHTS = (Right(CONFIG_MAPS, ("get", "list", "watch", "create")),)
"""No update and no delete: what is written stays."""


class Records:
    """Made only where there is a key. Raises `PreflightFailed` for one that cannot be used."""

    def __init__(
        self, settings: Settings, kube: KubeApi, metrics: Metrics, cluster: Callable[[], str], wake: Callable[[Key], None]
    ) -> None:
        key = _private_key(settings)
        public = key.public_key()
        trusted = {**_public_keys(settings.verification_key), keys.key_id(public): public}
        self._kube = kube
        self._chains = Chains(trusted)
        anchors: list[Anchor] = [LogLine()]
        if settings.checkpoint_namespace:
            namespace, every = settings.checkpoint_namespace, settings.checkpoint_every
            anchors.append(ConfigMaps(kube, self._chains.checkpoints, key, namespace=namespace, every=every))
        self.notary = Notary(
            kube,
            self._chains,
            key,
            namespace=settings.records_namespace,
            version=version("finetune-operator"),
            cluster=cluster,
            anchors=anchors,
            measures=metrics,
            wake=wake,
        )
        sinks: dict[str, Sink] = {settings.records_namespace: self._chains}
        if settings.checkpoint_namespace:
            sinks[settings.checkpoint_namespace] = self._chains.checkpoints
        self._namespaces = tuple(sinks)
        self.reflectors = [
            watch(kube, metrics, sink, CONFIG_MAPS, Selection(namespace=namespace, labels=chain.NAMESPACE_LABEL))
            for namespace, sink in sinks.items()
        ]
        NamespaceGauge(metrics, "finetune_record_chain_head", "Number of the newest record of a namespace.", self._heads)
        NamespaceGauge(metrics, "finetune_record_chain_flaws", "Gaps and changes in the records of a namespace.", self._flaws)
        pem = keys.public_pem(public).decode()
        log.info("records are signed", extra={"key_id": keys.key_id(public), "public_key": pem, "trusted": sorted(trusted)})

    async def require(self) -> None:
        """Raises `PreflightFailed` for a namespace or a right that is missing."""
        for namespace in self._namespaces:
            found = [page async for page in self._kube.pages(NAMESPACES, Selection(fields=f"metadata.name={namespace}"), page_size=1)]
            if not any(page.items for page in found):
                raise PreflightFailed(f"there is no namespace {namespace} for records: create it, or install the chart, which does")
            await require_rights_in(self._kube, namespace, _RIGHTS)

    def live(self) -> None:
        """Everything has been listed."""
        self._chains.report()

    def _heads(self) -> Iterable[tuple[str, float]]:
        return [(namespace, float(self._chains.length(namespace))) for namespace in self._chains.namespaces()]

    def _flaws(self) -> Iterable[tuple[str, float]]:
        return [(namespace, float(len(self._chains.flaws(namespace)))) for namespace in self._chains.namespaces()]


def record_keys(settings: Settings) -> tuple[str, ...]:
    """Public keys in PEM that records are signed with, the present one first. Raises `PreflightFailed` for one that cannot be used."""
    present = [_private_key(settings).public_key()] if settings.signing_key is not None else []
    every = {keys.key_id(key): key for key in (*present, *_public_keys(settings.verification_key).values())}
    return tuple(keys.public_pem(key).decode() for key in every.values())


def _private_key(settings: Settings) -> keys.PrivateKey:
    path = settings.signing_key
    assert path is not None
    try:
        return keys.private_key(path.read_bytes())
    except OSError as error:
        raise PreflightFailed(f"cannot read --signing-key {path}: {error.strerror}") from error
    except keys.KeyUnusable as error:
        raise PreflightFailed(f"--signing-key {path}: {error}") from error


def _public_keys(files: list[Path]) -> keys.PublicKeys:
    try:
        return keys.public_keys_of(files)
    except OSError as error:
        raise PreflightFailed(f"cannot read --verification-key {error.filename}: {error.strerror}") from error
    except keys.KeyUnusable as error:
        raise PreflightFailed(f"--verification-key {error}") from error
