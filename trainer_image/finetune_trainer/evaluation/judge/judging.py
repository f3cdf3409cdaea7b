"""All pairs of an evaluation before the judge: the known ones first, then base against tuned, a few at a time."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from finetune_trainer.contract import JUDGE_CREDENTIALS_PATH, JudgeSummary, RunSpec
from finetune_trainer.evaluation.decoding import raise_if_stopped
from finetune_trainer.evaluation.items import EvaluationItem
from finetune_trainer.evaluation.judge.calibration import Pair, doubts, known_pairs, too_many_unread
from finetune_trainer.evaluation.judge.endpoint import Access, JudgeEndpoint
from finetune_trainer.evaluation.judge.prompt import PROMPT_DIGEST, Verdict, question, read_verdict

CONCURRENCY: Final = 4
_LOOK_SECONDS = 0.2


class Ruling(StrEnum):
    """What both orders say together; only the first two are a verdict, the others are ties."""

    FIRST = "First"
    SECOND = "Second"
    EQUAL = "Equal"
    FLIPPED = "Flipped"
    UNREAD = "Unread"


@dataclass(kw_only=True)
class Judging:
    """``connect`` makes a connection to the judge; ``stop`` is looked at several times a second."""

    connect: Callable[[], JudgeEndpoint]
    stop: Callable[[], bool]
    _known: list[Ruling] = field(default_factory=list)
    _models: set[str] = field(default_factory=set)
    _fingerprints: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, spec: RunSpec, stop: Callable[[], bool], credentials: Path = Path(JUDGE_CREDENTIALS_PATH), **options: int) -> "Judging":
        """The judge of a run that has one, reached with these options of `JudgeEndpoint`. The seed is that of the run."""
        judge, access = spec.evaluation.judge, Access.of(credentials)
        assert judge is not None, "metrics_for refuses Judge without a judge"
        return cls(connect=lambda: JudgeEndpoint(judge, access, spec.training.seed, **options), stop=stop)

    def greet(self, items: Sequence[EvaluationItem]) -> None:
        """Ask about a single pair, whatever the verdict. Raises what `calibrate` does."""
        self._rule(known_pairs(items, most=1), lambda done: None)  # noqa: ARG005

    def calibrate(self, items: Sequence[EvaluationItem]) -> JudgeSummary:
        """Let the judge compare known pairs. Raises what `JudgeEndpoint.ask` does, and ``Stopped``."""
        pairs = known_pairs(items)
        self._known = self._rule(pairs, lambda done: None)  # noqa: ARG005
        counted = Counter(self._known)
        return self._summary(doubts(counted[Ruling.FIRST], len(pairs), counted[Ruling.UNREAD]))

    def compare(
        self, items: Sequence[EvaluationItem], base: Sequence[str], tuned: Sequence[str], progress: Callable[[int], None]
    ) -> tuple[list[float], JudgeSummary]:
        """Of each item what the tuned model's answer gets: 1 for the better one, 0 for the worse, one half for a tie.

        Answers that are the same are a tie without a question. Raises what `calibrate` does.
        """
        pairs = [Pair(item.prompt, before.strip(), after.strip()) for item, before, after in zip(items, base, tuned, strict=True)]
        asked = [number for number, pair in enumerate(pairs) if pair.first != pair.second]
        progress(len(pairs) - len(asked))
        rulings = [Ruling.EQUAL] * len(pairs)
        for number, ruling in zip(asked, self._rule([pairs[number] for number in asked], progress), strict=True):
            rulings[number] = ruling
        counted = Counter(rulings)
        summary = self._summary(too_many_unread(counted[Ruling.UNREAD], len(asked)))
        wins, losses = counted[Ruling.SECOND], counted[Ruling.FIRST]
        shares = {Ruling.SECOND: 1.0, Ruling.FIRST: 0.0}
        return [shares.get(ruling, 0.5) for ruling in rulings], summary.model_copy(
            update={
                "wins": wins,
                "losses": losses,
                "ties": len(pairs) - wins - losses,
                "flipped": counted[Ruling.FLIPPED],
                "unread": counted[Ruling.UNREAD],
            }
        )

    def _summary(self, problem: str) -> JudgeSummary:
        """Of several models that answered under one name, the names: whoever reads it sees that the judge changed."""
        return JudgeSummary(
            usable=not problem,
            message=problem,
            model=" ".join(sorted(self._models))[:128] or None,
            fingerprint=" ".join(sorted(self._fingerprints))[:128] or None,
            prompt_digest=PROMPT_DIGEST,
            calibration_pairs=len(self._known),
            calibration_right=self._known.count(Ruling.FIRST),
        )

    def _rule(self, pairs: list[Pair], progress: Callable[[int], None]) -> list[Ruling]:
        return asyncio.run(self._all(pairs, progress))

    async def _all(self, pairs: list[Pair], progress: Callable[[int], None]) -> list[Ruling]:
        rulings = [Ruling.UNREAD] * len(pairs)
        waiting = iter(enumerate(pairs))
        async with self.connect() as endpoint:

            async def work(places: Iterator[tuple[int, Pair]]) -> None:
                for place, pair in places:
                    rulings[place] = await self._both_orders(endpoint, pair)
                    progress(1)

            workers = [asyncio.create_task(work(waiting)) for _ in range(min(CONCURRENCY, len(pairs)))]
            try:
                busy = set(workers)
                while busy:
                    raise_if_stopped(self.stop)
                    done, busy = await asyncio.wait(busy, timeout=_LOOK_SECONDS)
                    for worker in done:
                        worker.result()
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return rulings

    async def _both_orders(self, endpoint: JudgeEndpoint, pair: Pair) -> Ruling:
        there = await self._verdict(endpoint, question(pair.prompt, pair.first, pair.second))
        back = await self._verdict(endpoint, question(pair.prompt, pair.second, pair.first))
        return ruling_of(there, back)

    async def _verdict(self, endpoint: JudgeEndpoint, messages: list[dict[str, str]]) -> Verdict:
        reply = await endpoint.ask(messages)
        self._models |= {name for name in (reply.model,) if name is not None}
        self._fingerprints |= {name for name in (reply.fingerprint,) if name is not None}
        return read_verdict(reply.text)


def ruling_of(there: Verdict, back: Verdict) -> Ruling:
    """``back`` is the verdict on the pair in the other order, so there its first answer is the pair's second."""
    if Verdict.UNREAD in (there, back):
        return Ruling.UNREAD
    if (there, back) == (Verdict.FIRST, Verdict.SECOND):
        return Ruling.FIRST
    if (there, back) == (Verdict.SECOND, Verdict.FIRST):
        return Ruling.SECOND
    return Ruling.FLIPPED if there is back is not Verdict.NEITHER else Ruling.EQUAL
