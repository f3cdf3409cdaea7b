"""A rollout under load: the object at its end, and what came of every request meanwhile."""

import time
from collections import Counter
from dataclasses import dataclass, field

from finetune_inference.contract import version_name
from tests.e2e.adapterdeployment.served import Object, Served
from tests.engines.load import Load, Record


@dataclass
class Rollout:
    """How one went; ``ended`` is when every router had applied its end, by `time.monotonic`."""

    alias: str
    digest: str
    end: Object = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    ended: float = 0.0

    @property
    def version(self) -> str:
        return version_name(self.alias, self.digest)

    @property
    def entry(self) -> Object:
        entry: Object = self.end["status"]["history"][0]
        return entry

    def after(self) -> list[Record]:
        """Requests that began once every router had applied the end."""
        return [record for record in list(self.records) if record.began > self.ended]

    def answers(self) -> Counter[str]:
        return Counter(record.version for record in self.records)


def watched(served: Served, digest: str, load: Load) -> Rollout:
    """Wait for its end under load, and for some requests after it."""
    rollout = Rollout(served.name, digest, end=served.wait_ended(digest))
    rollout.ended = time.monotonic()
    rollout.records = load.records
    served.wait(lambda _: len(rollout.after()) >= 2 * load.rate)
    return rollout
