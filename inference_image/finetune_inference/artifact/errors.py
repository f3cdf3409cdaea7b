"""Why an artifact was not taken: with the field, the reason and the way out, and whether waiting can help."""

from finetune_inference.contract import Finding

_LIMIT = 512


class IntakeError(Exception):
    """``field`` names the URI, file or digest concerned. ``passing``: the same bytes may be fine later (a volume that is away)."""

    def __init__(self, reason: str, field: str, message: str, way_out: str, *, passing: bool = False) -> None:
        super().__init__(f"{reason}: {field}: {message}")
        self.finding = Finding(field=field[:160], reason=reason, message=message[:_LIMIT], way_out=way_out[:_LIMIT])
        self.passing = passing


class Interrupted(Exception):
    """Asked to stop in the middle of a copy; nothing is left behind."""
