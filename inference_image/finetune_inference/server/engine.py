"""The engine: one thread that owns the model and gives every live sequence its next token, step after step.

Everything reaches it as a command through one queue, so that loads, unloads and cancellations happen between two steps and nowhere else.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import torch

from finetune_inference.server.batching import Limits, prefill_group
from finetune_inference.server.choosing import choose
from finetune_inference.server.metrics import Metrics
from finetune_inference.server.rows import AdaptedModel, Change
from finetune_inference.server.runner import Runner
from finetune_inference.server.sequence import Finish, Piece, Sequence

log = logging.getLogger(__name__)
Command = Callable[[], None]


@dataclass(frozen=True)
class Load:
    """How much the engine has to do, for metrics; read from any thread."""

    running: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    cache_bytes: int = 0


class Engine:
    """``submit``, ``cancel``, ``install``, ``remove`` and ``stop`` may be called from any thread.

    ``flush`` is called from the engine's thread after each step with all pieces of it at once.
    """

    def __init__(
        self,
        adapted: AdaptedModel,
        layers: int,
        limits: Limits,
        metrics: Metrics,
        flush: Callable[[list[tuple[Sequence, Piece]]], None],
    ) -> None:
        self._adapted = adapted
        self._limits = limits
        self._metrics = metrics
        self._flush = flush
        self._runner = Runner(adapted, layers, limits)
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._waiting: deque[Sequence] = deque()
        self._live: list[Sequence] = []
        self._partial: Sequence | None = None
        self._leaving: list[tuple[str, Future[None]]] = []
        self._pieces: list[tuple[Sequence, Piece]] = []
        self._stopping = False
        self._failed_before = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.load = Load()
        self.died = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def submit(self, sequence: Sequence) -> None:
        self._commands.put(lambda: self._waiting.append(sequence))

    def cancel(self, sequence: Sequence) -> None:
        """End a sequence before its next token; nothing happens if it has ended already."""

        def mark() -> None:
            sequence.cancelled = True

        self._commands.put(mark)

    def install(self, adapter: str, changes: dict[str, Change]) -> "Future[None]":
        """Give rows of this adapter its weights, between two steps."""
        done: Future[None] = Future()

        def command() -> None:
            self._adapted.install(adapter, changes)
            done.set_result(None)

        self._commands.put(command)
        return done

    def remove(self, adapter: str) -> "Future[None]":
        """Take an adapter out as soon as its last sequence has ended; sequences submitted before this call count."""
        done: Future[None] = Future()
        self._commands.put(lambda: self._leaving.append((adapter, done)))
        return done

    def end_all(self, reason: str) -> None:
        """End every sequence after the current step, as failed for this reason."""
        self._commands.put(lambda: self._fail_all(reason))

    def stop(self) -> None:
        """End the thread after the current step, whatever is unfinished."""

        def command() -> None:
            self._stopping = True

        self._commands.put(command)
        self._thread.join()

    def _run(self) -> None:
        with torch.inference_mode():
            while not self._stopping:
                self._obey()
                self._drop_cancelled()
                self._let_go()
                self._step_or_fail()
                self._tell()
                if self.died.is_set():
                    return

    def _obey(self) -> None:
        """Run all commands there are; wait for one when there is nothing else to do."""
        idle = not (self._live or self._waiting or self._partial or self._leaving)
        try:
            command = self._commands.get(block=idle)
            while True:
                command()
                command = self._commands.get_nowait()
        except queue.Empty:
            return

    def _step_or_fail(self) -> None:
        """One step. A step that fails ends the sequences in it; two in a row end the engine, whose pod is then restarted."""
        try:
            self._admit()
            self._decode()
            self._failed_before = False
        except Exception as error:
            log.exception("a step failed")
            self._fail_running(f"the model failed: {type(error).__name__}")
            if self._failed_before:
                self._fail_all("the engine has stopped")
                self.died.set()
            self._failed_before = True

    def _fail_running(self, reason: str) -> None:
        """End what is in the batch and forget its keys and values."""
        for sequence in self._running():
            self._end(sequence, Finish.ERROR, reason)
        self._live, self._partial = [], None
        self._runner.cache.drop()

    def _fail_all(self, reason: str) -> None:
        self._fail_running(reason)
        for sequence in self._waiting:
            self._end(sequence, Finish.ERROR, reason)
        self._waiting.clear()

    def _running(self) -> list[Sequence]:
        return [*self._live, *([self._partial] if self._partial else [])]

    def _admit(self) -> None:
        """Compute the prompts of those who fit, as far as one prefill's budget goes."""
        if self._partial is not None:
            self._advance(self._partial)
            return
        fitting: list[Sequence] = []
        for sequence in self._waiting:
            reserved = [other.reserved for other in (*self._live, *fitting)]
            if sequence.preamble is not None or not self._limits.admits(reserved, sequence.reserved):
                break
            fitting.append(sequence)
        count = prefill_group([len(sequence.prompt) for sequence in fitting], self._limits.prefill_tokens)
        if count:
            self._prefill([self._waiting.popleft() for _ in range(count)])
        elif self._waiting and self._limits.admits([other.reserved for other in self._live], self._waiting[0].reserved):
            self._partial = self._waiting.popleft()
            self._partial.row = len(self._live)
            self._advance(self._partial)

    def _prefill(self, newcomers: list[Sequence]) -> None:
        for row, sequence in enumerate(newcomers, start=len(self._live)):
            sequence.row = row
        self._live += newcomers
        self._accept(newcomers, self._runner.prefill_whole(newcomers))

    def _advance(self, sequence: Sequence) -> None:
        logits = self._runner.prefill_piece(sequence, self._limits.prefill_tokens)
        if logits is not None:
            self._partial = None
            self._live.append(sequence)
            self._accept([sequence], logits)

    def _decode(self) -> None:
        if self._live:
            self._accept(list(self._live), self._runner.decode(self._live))

    def _accept(self, sequences: list[Sequence], logits: torch.Tensor) -> None:
        """Choose a token for each sequence, and end those that are done."""
        choices = choose(logits, [(sequence.sampling, sequence.source) for sequence in sequences])
        now = time.monotonic()
        for sequence, choice in zip(sequences, choices, strict=True):
            if not choice.finite:
                self._retire(sequence, Finish.ERROR, "the model's output is not a number")
                continue
            self._metrics.token(sequence, now)
            finish = sequence.take(choice.token, choice.likelihoods, now)
            if finish is not None:
                self._retire(sequence, finish)
            elif sequence.streams:
                self._pieces.append((sequence, sequence.piece()))

    def _retire(self, sequence: Sequence, finish: Finish, error: str | None = None) -> None:
        """End a live sequence and close the gap that its row leaves."""
        last = self._live[-1]
        self._runner.cache.release(sequence.row, sequence.extent, last.row, last.extent)
        self._live[sequence.row] = last
        last.row = sequence.row
        self._live.pop()
        if self._partial is not None:
            self._lower_partial(len(self._live))
        self._end(sequence, finish, error)

    def _lower_partial(self, row: int) -> None:
        """The one whose prompt is half computed keeps the row behind the live ones."""
        partial = self._partial
        assert partial is not None
        self._runner.cache.release(row, 0, partial.row, partial.extent)
        partial.row = row

    def _end(self, sequence: Sequence, finish: Finish, error: str | None = None) -> None:
        self._metrics.finished(sequence, finish, time.monotonic())
        self._pieces.append((sequence, sequence.piece(finish, error)))

    def _drop_cancelled(self) -> None:
        for sequence in [sequence for sequence in self._live if sequence.cancelled]:
            self._retire(sequence, Finish.ABORT)
        if self._partial is not None and self._partial.cancelled:
            self._runner.cache.release(self._partial.row, self._partial.extent, self._partial.row, 0)
            self._end(self._partial, Finish.ABORT)
            self._partial = None
        for sequence in [sequence for sequence in self._waiting if sequence.cancelled]:
            self._waiting.remove(sequence)
            self._end(sequence, Finish.ABORT)

    def _let_go(self) -> None:
        """Remove the adapters that nobody uses any more."""
        if not self._leaving:
            return
        used = {sequence.adapter for sequence in (*self._running(), *self._waiting)}
        for adapter, done in [entry for entry in self._leaving if entry[0] not in used]:
            self._adapted.remove(adapter)
            self._leaving.remove((adapter, done))
            done.set_result(None)

    def _tell(self) -> None:
        """Hand out the step's pieces, and say how busy the engine is."""
        self.load = Load(
            tuple(sequence.label for sequence in self._running()),
            tuple(sequence.label for sequence in self._waiting),
            self._runner.cache.bytes,
        )
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            self._flush(pieces)
