"""The record's place among the others: the whole chain of its namespace, and what vouches for the chain from outside."""

import json
from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from finetune_record import chain, envelope
from finetune_record.difference import differences
from finetune_record.keys import PublicKeys
from finetune_record.layout import RECORD_FILE
from finetune_record.outcome import ChainLink
from finetune_record.problems import Check, Problem
from finetune_record.stored import LogLine, Stored
from finetune_record.verification.found import Found, problem
from finetune_record.verification.record import Claim
from finetune_trainer.contract import digest_of

MOST_DIFFERENCES = 8


def check_chain(records: Sequence[Stored], claim: Claim, trusted: PublicKeys) -> tuple[list[chain.Entry], Found]:
    """Every signature and link, and whether the record is the one that is chained. Returns the entries that are signed."""
    entries: list[chain.Entry] = []
    found = Found()
    for stored in records:
        entry, wrong = _entry(stored, trusted)
        found += wrong
        if entry is not None:
            entries.append(entry)
    place = claim.statement.predicate.chain if claim.statement else None
    foreign = [entry for entry in entries if place is not None and entry.link.namespace != place.namespace]
    found += Found(tuple(Problem(Check.CHAIN, entry.where, f"belongs to namespace {entry.link.namespace}") for entry in foreign))
    entries = [entry for entry in entries if entry not in foreign] if foreign else entries
    found += Found(tuple(chain.flaws(entries)), checked=(f"chain of {len(entries):,} records",))
    return entries, found + Found(tuple(_in_the_chain(claim, place, records, entries)))


def check_anchors(anchors: Sequence[Stored | LogLine], entries: Sequence[chain.Entry], namespace: str, trusted: PublicKeys) -> Found:
    """What vouches from outside for this chain, and whether the chain still fulfils it."""
    points: list[tuple[str, chain.Checkpoint | chain.LoggedHead]] = []
    found = Found()
    for anchor in anchors:
        if isinstance(anchor, LogLine):
            points.append((anchor.name, anchor.told))
            continue
        try:
            sealed = envelope.Envelope.read(anchor.text)
            points.append((anchor.name, chain.Checkpoint.from_json(envelope.opened(sealed, trusted, envelope.CHECKPOINT))))
        except ValidationError:
            found += problem(Check.ANCHORS, anchor.name, "is no checkpoint of a chain")
        except envelope.EnvelopeError as error:
            found += problem(Check.ANCHORS, anchor.name, str(error))
    mine = [(where, point) for where, point in points if point.namespace == namespace]
    if not mine:
        return found + problem(Check.ANCHORS, "anchors", f"tell nothing of namespace {namespace}")
    newest = max(point.seq for _, point in mine)
    later = max((entry.link.seq for entry in entries), default=0) - newest
    notes = (f"anchors: the newest vouches for record {newest}; for the {later} after it only the chain does",) if later > 0 else ()
    return found + Found(tuple(chain.unmet(mine, entries)), notes, (f"{len(mine)} anchored heads",))


def _entry(stored: Stored, trusted: PublicKeys) -> tuple[chain.Entry | None, Found]:
    try:
        payload = envelope.opened(envelope.Envelope.read(stored.text), trusted)
        predicate = json.loads(payload)["predicate"]
        link = ChainLink.model_validate(predicate["chain"])
    except envelope.EnvelopeError as error:
        return None, problem(Check.CHAIN, stored.name, str(error))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None, problem(Check.CHAIN, stored.name, "is signed, and is no record with a place in a chain")
    name = chain.entry_name(link.namespace, link.seq)
    wrong = Found() if stored.name == name else problem(Check.CHAIN, stored.name, f"holds {name}: entries were exchanged or renamed")
    return chain.Entry(link, digest_of(payload), stored.name), wrong


def _in_the_chain(claim: Claim, place: ChainLink | None, records: Sequence[Stored], entries: Sequence[chain.Entry]) -> Iterator[Problem]:
    """The record must be an entry, byte for byte; where it is not, the fields that differ are named."""
    if any(entry.digest == claim.digest for entry in entries):
        return
    name = chain.entry_name(place.namespace, place.seq) if place is not None else None
    chained = next((stored for stored in records if stored.name == name and any(entry.where == name for entry in entries)), None)
    if chained is None:
        yield Problem(Check.CHAIN, RECORD_FILE, f"{name or 'this record'} is not in the chain")
        return
    theirs, ours = json.loads(envelope.Envelope.read(chained.text).content), json.loads(claim.payload)
    for position, (field, here, there) in enumerate(differences(ours, theirs)):
        if position == MOST_DIFFERENCES:
            yield Problem(Check.CHAIN, RECORD_FILE, f"more fields differ from {name} in the chain")
            return
        yield Problem(Check.CHAIN, f"{RECORD_FILE}: {field}", f"is {here}, and in the chain's {name} it is {there}")
