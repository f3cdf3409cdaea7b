"""What the router counts requests by."""

from enum import StrEnum


class Track(StrEnum):
    """Whose traffic it was: users', a copy of it, or the operator's own probes."""

    LIVE = "live"
    SHADOW = "shadow"
    PROBE = "probe"


class Outcome(StrEnum):
    """How a request ended.

    ``error``: the engine answered 5xx, could not be reached, took too long, or cut the stream after its first byte. ``fallback``: no pod
    had the canary, so stable answered; it counts against the canary. ``client_error``: the caller's own 4xx, in nobody's disfavour.
    ``aborted``: the caller went away.
    """

    OK = "ok"
    ERROR = "error"
    CLIENT_ERROR = "client_error"
    FALLBACK = "fallback"
    ABORTED = "aborted"


class Check(StrEnum):
    """What is looked at in a sample of complete answers, off the hot path."""

    SCHEMA = "schema"


class CheckOutcome(StrEnum):
    VALID = "valid"
    INVALID = "invalid"
