"""From evidence to a failure class: what the pod said last, how its container ended, and what the Job's condition kept of it.

The three are asked in that order, because each knows more than the next and outlives it less well.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from pydantic import ValidationError

from finetune_operator.api.reasons import Reason
from finetune_operator.domain.children import Job, Pod
from finetune_trainer.contract import CLASS_OF_EXIT, PREFLIGHT_STEP, FailureClass, TerminationMessage
from finetune_trainer.contract.governance import RuleId
from finetune_trainer.contract.model import BaseModelFindings

_EXIT_CODE = re.compile(r"exit code (\d{1,3})\b")
_DISRUPTED = re.compile(r"condition DisruptionTarget\b")
_KILLED = 137
_TERMINATED = 143
_TEXT_LIMIT = 1024
_REASONS, _RULES = frozenset(each.value for each in Reason), frozenset(each.value for each in RuleId)


class FailureKind(StrEnum):
    """Why an attempt ended before its time; each kind has its own retry budget."""

    CONFIGURATION = "Configuration"
    DATA = "Data"
    MODEL = "Model"
    DIVERGED = "Diverged"
    OUT_OF_MEMORY = "OutOfMemory"
    HOST_OUT_OF_MEMORY = "HostOutOfMemory"
    STORAGE = "Storage"
    PREEMPTED = "Preempted"
    INFRASTRUCTURE = "Infrastructure"
    INTERNAL = "Internal"
    MESSAGE_LOST = "MessageLost"
    NOT_CONTAINED = "NotContained"
    DENIED = "Denied"


@dataclass(frozen=True)
class Failure:
    """A verdict on an attempt: class, evidence and what to do about it."""

    kind: FailureKind
    reason: Reason
    message: str
    hint: str = ""
    sealed_step: int | None = None
    base_model: BaseModelFindings | None = None
    """What was found in a base model that is not loaded for it."""
    said: str = ""
    """The pod's own word for it."""


_OF_CLASS = {
    FailureClass.CONFIGURATION: (FailureKind.CONFIGURATION, Reason.CONFIGURATION_REJECTED),
    FailureClass.DATA: (FailureKind.DATA, Reason.DATA_REJECTED),
    FailureClass.MODEL: (FailureKind.MODEL, Reason.MODEL_REJECTED),
    FailureClass.DIVERGED: (FailureKind.DIVERGED, Reason.DIVERGED),
    FailureClass.OUT_OF_MEMORY: (FailureKind.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY),
    FailureClass.STORAGE: (FailureKind.STORAGE, Reason.STORAGE_FAILED),
    FailureClass.STOPPED: (FailureKind.PREEMPTED, Reason.INTERRUPTED),
    FailureClass.INTERNAL: (FailureKind.INTERNAL, Reason.INTERNAL),
    FailureClass.NOT_CONTAINED: (FailureKind.NOT_CONTAINED, Reason.EGRESS_NOT_ENFORCED),
    FailureClass.DENIED: (FailureKind.DENIED, Reason.PREFLIGHT_REFUSED),
}

_PLAIN = {
    FailureClass.CONFIGURATION: "the trainer refused a setting",
    FailureClass.DATA: "the data cannot be used",
    FailureClass.MODEL: "the base model cannot be used",
    FailureClass.DIVERGED: "training diverged",
    FailureClass.OUT_OF_MEMORY: "memory did not suffice",
    FailureClass.STORAGE: "a volume or the network failed",
    FailureClass.STOPPED: "the pod was stopped",
    FailureClass.INTERNAL: "the trainer ended with an unexpected error",
    FailureClass.NOT_CONTAINED: "egress is not closed",
    FailureClass.DENIED: "the pod itself refused to begin",
}


def last_words(pod: Pod | None, run_key: str, step: str) -> TerminationMessage | None:
    """The pod's termination message, if it is one and speaks about this step of this run."""
    message = _read(pod.termination_message) if pod is not None else None
    if message is None:
        return None
    spoken_for = message.run_key in ("", run_key)  # a trainer that cannot read its run spec does not know the key
    return message if spoken_for and message.step == step else None


def preflight_words(pod: Pod | None) -> TerminationMessage | None:
    """What the preflight said that went before the trainer."""
    message = _read(pod.preflight_message) if pod is not None else None
    return message if message is not None and message.step == PREFLIGHT_STEP else None


def _read(text: str) -> TerminationMessage | None:
    try:
        return TerminationMessage.from_json(text) if text else None
    except ValidationError:
        return None


def failure_of(job: Job, pod: Pod | None, run_key: str) -> Failure:
    """The verdict on a Job that failed; total."""
    words = last_words(pod, run_key, job.place.step)
    before = preflight_words(pod)
    if pod is not None and pod.preflight_code and before is not None and before.outcome in _OF_CLASS:
        return _spoken(before, pod)
    if pod is not None and pod.exit_reason == "OOMKilled":
        return _host_out_of_memory(pod)
    if words is not None and words.outcome in _OF_CLASS:
        return _spoken(words, pod)
    return _of_exit(job, pod)


def lost_job() -> Failure:
    """The Job of the attempt is gone although nobody here deleted it; that it had ended well and was collected cannot be ruled out."""
    message = "its Job is gone: deleted by somebody else, or ended and collected before its result was read"
    return Failure(FailureKind.INFRASTRUCTURE, Reason.CHILD_DELETED, message, "Use spec.suspend or runPolicy.cancel to stop a run.")


def lost_message(step: str) -> Failure:
    """The step is done but nobody heard its result; another attempt answers from the sealed one."""
    return Failure(FailureKind.MESSAGE_LOST, Reason.POD_LOST, f"the {step} step ended well, but its pod is gone with its result")


def describe(failure: Failure) -> str:
    """Evidence and next action in one text."""
    return f"{failure.message}. {failure.hint}".strip() if failure.hint else failure.message


def _spoken(words: TerminationMessage, pod: Pod | None) -> Failure:
    kind, reason = _OF_CLASS[words.outcome]
    code = "" if pod is None or pod.exit_code is None else f" (exit code {pod.exit_code})"
    text = f"{words.reason}: {words.message.rstrip('. ')}{code}"
    if kind is FailureKind.PREEMPTED and pod is not None and pod.disruption:
        text = f"{text}; {pod.disruption}"
    if words.skipped_checkpoints:
        text = f"{text}; skipped {'; '.join(words.skipped_checkpoints)}"
    sealed = words.checkpoint.step if words.checkpoint else None
    reason = _reason_of(words.refusals[0].rule) if kind is FailureKind.DENIED and words.refusals else reason
    return Failure(kind, reason, text[:_TEXT_LIMIT], words.hint, sealed, words.base_model, words.reason)


def _reason_of(rule: str) -> Reason:
    """Of a rule by which a pod does not begin; where people can settle it, that they are asked to."""
    if rule in _REASONS:
        return Reason(rule)
    return Reason.AWAITING_APPROVAL if rule in _RULES else Reason.PREFLIGHT_REFUSED


def _of_exit(job: Job, pod: Pod | None) -> Failure:
    code = pod.exit_code if pod is not None and pod.exit_code is not None else _code_of_condition(job)
    known = next((name for exit_code, name in CLASS_OF_EXIT.items() if int(exit_code) == code and name in _OF_CLASS), None)
    if known is not None and known is not FailureClass.INTERNAL:
        kind, reason = _OF_CLASS[known]
        if kind is FailureKind.PREEMPTED:
            return Failure(kind, reason, f"{_PLAIN[known]} (exit code {code})")
        return Failure(kind, reason, f"{_PLAIN[known]} (exit code {code}; the pod's own message is lost)", "Look at the pod's log.")
    disruption = _disruption_of(job, pod)
    if disruption is not None:
        return Failure(FailureKind.PREEMPTED, Reason.INTERRUPTED, f"the pod was evicted: {disruption}"[:_TEXT_LIMIT])
    if known is FailureClass.INTERNAL:
        return Failure(FailureKind.INTERNAL, Reason.INTERNAL, f"{_PLAIN[known]} (exit code {code})", "Look at the pod's log.")
    if code in (_KILLED, _TERMINATED) or code is None:
        return _without_a_word(job, pod, code)
    return Failure(FailureKind.INTERNAL, Reason.INTERNAL, f"the trainer ended with exit code {code}", "Look at the pod's log.")


def _without_a_word(job: Job, pod: Pod | None, code: int | None) -> Failure:
    how = f"the pod was killed (exit code {code})" if code is not None else "the pod is gone"
    evidence = (pod.message or pod.reason) if pod is not None else ""
    detail = evidence or job.message or job.reason
    message = f"{how}: {detail}" if detail else how
    return Failure(FailureKind.INFRASTRUCTURE, Reason.POD_LOST, message[:_TEXT_LIMIT])


def _host_out_of_memory(pod: Pod) -> Failure:
    message = f"the kernel killed the pod for its memory (OOMKilled, exit code {pod.exit_code})"
    return Failure(FailureKind.HOST_OUT_OF_MEMORY, Reason.OUT_OF_MEMORY, message, "Raise spec.resources.limits.memory.")


def _code_of_condition(job: Job) -> int | None:
    found = _EXIT_CODE.search(job.message)
    return int(found.group(1)) if found else None


def _disruption_of(job: Job, pod: Pod | None) -> str | None:
    if pod is not None and pod.disruption:
        return pod.disruption
    return job.message if _DISRUPTED.search(job.message) else None
