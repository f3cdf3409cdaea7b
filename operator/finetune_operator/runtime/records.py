"""The signing of records, as one part of the process: key, chains, anchors, and what they need of the API server."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final

from finetune_operator.cluster.bucket import Bucket
from finetune_operator.cluster.bucketplace import BucketError, NoObjectLock, NoSuchBucket, credentials_in, credentials_of
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.kube import KubeApi, Selection
from finetune_operator.cluster.reflector import Sink
from finetune_operator.cluster.resources import CONFIG_MAPS, EVENTS, NAMESPACES
from finetune_operator.control.anchors import Anchor, ConfigMaps, LogLine
from finetune_operator.control.bucketanchor import BucketAnchor
from finetune_operator.control.chains import Chains
from finetune_operator.control.notary import Notary
from finetune_operator.control.recorder import Recorder
from finetune_operator.domain.plan import EventNote
from finetune_operator.runtime.metrics import Metrics, NamespaceGauge
from finetune_operator.runtime.parts import StartTask
from finetune_operator.runtime.preflight import PreflightFailed, Right, require_rights_in
from finetune_operator.runtime.settings import Settings
from finetune_operator.runtime.watches import watch
from finetune_record import chain, keys

log = logging.getLogger(__name__)

_RIGHTS = (Right(CONFIG_MAPS, ("get", "list", "watch", "create")),)
"""No update and no delete: what is written stays."""
_EVENT_RIGHTS = (Right(EVENTS, ("create", "patch")),)
"""For gaps of a bucket, beside the records."""
OPENED_WITHIN: Final = 10.0
"""Seconds that a start waits for a bucket; what it holds is then read later."""


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
        self._bucket: Bucket | None = None
        self._bucket_anchor = self._make_bucket_anchor(settings, metrics, key)
        if self._bucket_anchor is not None:
            anchors.append(self._bucket_anchor)
            NamespaceGauge(
                metrics, "finetune_record_anchor_gap", "Records that are due in the bucket and not there.", self._bucket_anchor.gaps
            )
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
        if self._bucket_anchor is not None:
            await require_rights_in(self._kube, self._namespaces[0], _EVENT_RIGHTS)
            await self._require_bucket(self._bucket_anchor)

    async def _require_bucket(self, anchor: BucketAnchor) -> None:
        """A bucket that is away is a gap; one that can be rewritten is a mistake."""
        try:
            async with asyncio.timeout(OPENED_WITHIN):
                await anchor.open()
        except (NoObjectLock, NoSuchBucket) as error:
            await self.close()
            raise PreflightFailed(f"--anchor-bucket: {error}") from error
        except (BucketError, TimeoutError) as error:
            log.warning("the bucket of checkpoints cannot be used now, and is tried again: %s", error or "no answer in time")

    def start(self, begin: StartTask) -> None:
        """What the leader does besides: checkpoints in a bucket."""
        if self._bucket_anchor is not None:
            begin("anchoring", self._bucket_anchor.run())

    async def close(self) -> None:
        if self._bucket is not None:
            await self._bucket.close()

    def _make_bucket_anchor(self, settings: Settings, metrics: Metrics, key: keys.PrivateKey) -> BucketAnchor | None:
        place, folder = settings.bucket_place(), settings.anchor_bucket_credentials
        if place is None:
            return None
        if place.endpoint.startswith("http:"):
            log.warning("--anchor-bucket-endpoint is not https: whoever is on the way can say that the bucket has a lock")
        self._bucket = Bucket(place, partial(credentials_in, folder) if folder is not None else credentials_of)
        recorder = Recorder(self._kube, instance=settings.identity, kind=CONFIG_MAPS)

        async def tell(head: chain.Entry, note: EventNote) -> None:
            """Beside the records, for whoever looks after them."""
            uid = self._chains.uid_of(head.where)
            await recorder.record({"metadata": {"namespace": settings.records_namespace, "name": head.where, "uid": uid}}, note)

        return BucketAnchor(
            self._bucket,
            self._chains,
            key,
            mode=settings.anchor_bucket_mode,
            days=settings.anchor_bucket_days,
            every=settings.checkpoint_every,
            measures=metrics,
            tell=tell,
        )

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
