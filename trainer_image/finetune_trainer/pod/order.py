"""The order of a governed run as the pod finds it: whole, and the one that the pod's own command line names, or none at all."""

from pathlib import Path

from pydantic import ValidationError

from finetune_trainer.contract import digest_of
from finetune_trainer.contract.governance.order import Order
from finetune_trainer.pod.errors import DeniedError

_HINT = "Nothing may begin without it: set spec.rerun, which has it written anew."
_VERSIONS = "The operator is of another version than this trainer image: set spec.rerun, which takes the operator's own."


def read_order(path: Path, digest: str) -> Order:
    """Raises ``DeniedError`` for one that is absent, is not what ``digest`` says, or is in words that this version does not know."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DeniedError("OrderMissing", f"no order at {path}: {error.strerror}", _HINT) from error
    found = digest_of(content)
    if found != digest:
        raise DeniedError("OrderDamaged", f"the order at {path} has the digest {found}, and {digest} was written", _HINT)
    try:
        return Order.from_json(content)
    except ValidationError as error:
        places = [".".join(str(part) for part in mistake["loc"])[:64] for mistake in error.errors(include_input=False, include_url=False)]
        raise DeniedError("OrderUnreadable", f"the order cannot be read at {', '.join(places[:5])}", _VERSIONS) from error
