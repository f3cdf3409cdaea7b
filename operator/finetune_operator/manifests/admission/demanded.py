"""What policies demand of an object and of the data it uses, judged by the API server from the facts that the operator has written.

The same questions as `finetune_trainer.contract.governance.checks` asks of a job before anything of it is read, with the same sentences as
answers. Policies that only audit are not asked. The shape of a uri has been checked by the kind's definition.
"""

from finetune_operator.manifests.admission import classified
from finetune_operator.manifests.admission.cel import each, listed, quoted, shown, text, told, when
from finetune_operator.manifests.admission.policy import Variables
from finetune_trainer.contract.governance import RuleId
from finetune_trainer.contract.governance.enclosure import EnclosureRuleId
from finetune_trainer.contract.governance.policy import Mode
from finetune_trainer.contract.governance.vocabulary import EVERYTHING

_HOST = "://[A-Za-z0-9][-A-Za-z0-9.]*"
"""Of an address whose shape the kind's definition has checked: nobody reads another host in it."""
_RANK = classified.RANK_CONFIDENTIAL
_OTHERS = "d.uri == s.uri && d.digest != '' && s.digest != '' && d.digest != s.digest"
_SAME_DATA = (
    "((d.digest != '' && d.digest == s.digest) || "
    f"(((d.uri + '/').startsWith(s.uri + '/') || (s.uri + '/').startsWith(d.uri + '/')) && !({_OTHERS})))"
)
"""The same digest is the same data wherever they lie; the same place is, unless both sides name digests that differ; so are what lies in a
folder and the folder that holds it."""

FACTS: Variables = {
    "datasets": "params.spec.datasets",
    "complete": "params.spec.complete",
}
POLICIES: Variables = {
    "applying": (
        "params.spec.policies.filter(p, variables.rank >= variables.levels.indexOf(p.minLevel) && "
        "(p.regimes.size() == 0 || p.regimes.exists(r, r in variables.present)))"
    ),
    "enforced": f"variables.applying.filter(p, p.mode == {text(Mode.ENFORCE)})",
}
"""Those that apply by level and regimes; which match the namespace, the operator has seen to."""

NO_DATA: Variables = {"records": "[] + variables.datasets.filter(d, false)"}
"""Of an object that uses none; with the type that records have."""


def source(field: str, path: str) -> str:
    """A list of the rows that are named in this part of the object, or of none."""
    here = f"object.{path}"
    digest = f"{here}.?digest.orValue('')"
    return f"({here}.?uri.hasValue() ? [{_source(field, f'{here}.?uri.value()', digest)}] : [])"


def referred(field: str, name: str) -> str:
    """A list of the rows of the registered data of this name, or of none where nothing is registered by it."""
    return f"variables.datasets.filter(d, d.name == {name}).map(d, {_source(field, 'd.uri', 'd.digest')})"


_LEVEL = "variables.levels.indexOf(d.level)"
RECORDS: Variables = {
    "records": f"variables.datasets.filter(d, variables.sources.exists(s, {_SAME_DATA}))",
    "ranks": f"variables.sources.map(s, ([-1] + variables.records.filter(d, {_SAME_DATA}).map(d, {_LEVEL})).max())",
}
"""What is registered about the sources, and the highest level of each source by that; -1 where nothing is."""
_RANK_OF_SOURCE = "variables.ranks[variables.sources.indexOf(s)]"


def missing(field: str, name: str) -> str:
    condition = f"variables.complete && {name} != '' && !variables.datasets.exists(d, d.name == {name})"
    return when(condition, told(EnclosureRuleId.DATASET_MISSING, text(field), quoted(name, after=" is not registered in this namespace")))


def declared_too_low() -> str:
    labels = "variables.labels"
    declared = (
        f"{classified.LEVEL} in {labels} || {classified.RESIDENCY} in {labels} || {labels}.exists(k, k.startsWith({classified.REGIME}))"
    )
    higher = f"variables.sources.filter(s, {_RANK_OF_SOURCE} > variables.declaredRank)"
    what = f"{higher}.map(s, variables.levels[{_RANK_OF_SOURCE}] + ' by dataset at ' + s.field)"
    reason = f"'declared ' + variables.levels[variables.declaredRank] + ', but it is ' + {listed(what)}"
    field = f"'metadata.labels[' + {classified.LEVEL} + ']'"
    return when(f"(variables.governed || {declared}) && {higher}.size() > 0", told(RuleId.CLASSIFICATION_DOWNGRADE, field, reason))


def unregistered() -> str:
    reason = f"{shown('s.uri')} + ' has no record and the level is ' + variables.levels[variables.rank]"
    told_each = told(RuleId.DATASET_NOT_REGISTERED, "s.field", reason)
    condition = f"variables.complete && variables.rank >= {_RANK}"
    return f"({condition} ? variables.sources.filter(s, {_RANK_OF_SOURCE} < 0).map(s, {told_each}) : [])"


def withdrawn() -> str:
    found = f"variables.datasets.filter(d, d.withdrawn != '' && {_SAME_DATA})"
    reason = f"{shown('s.uri')} + ' was withdrawn: ' + {quoted(f'{found}[0].withdrawn')}"
    return f"variables.sources.filter(s, {found}.size() > 0).map(s, {told(RuleId.DATASET_WITHDRAWN, 's.field', reason)})"


def no_policy() -> str:
    """Only one that begins at confidential or below counts."""
    enough = f"variables.enforced.exists(p, variables.levels.indexOf(p.minLevel) <= {_RANK})"
    others = listed("variables.applying.map(p, '\\'' + p.name + '\\'')")
    aside = f"(variables.applying.size() == 0 ? '' : ' (' + {others} + ' only audits, or begins above)')"
    reason = f"'level is ' + variables.levels[variables.rank] + ' and no enforced policy applies from confidential on' + {aside}"
    condition = f"variables.complete && variables.rank >= {_RANK} && !{enough}"
    return when(condition, told(RuleId.NO_MATCHING_POLICY, text("namespace"), reason))


def outside_zones() -> str:
    zones = _allowed("zones")
    reason = f"r + ' is not among the zones: ' + {listed(zones)} + {_OF_POLICY}"
    refusing = f"variables.enforced.filter(p, !({text(EVERYTHING)} in {zones} || r in {zones}))"
    return each("variables.confined", "r", f"{refusing}.map(p, {told(RuleId.RESIDENCY_VIOLATION, text('residency'), reason)})")


def from_elsewhere() -> str:
    sources = _allowed("dataSources")
    below = f"({text(EVERYTHING)} in {sources} || {sources}.exists(x, (s.uri + '/').startsWith(x.find('^.*[^/]') + '/')))"
    reason = f"{shown('s.uri')} + ' is not below any source: ' + {listed(sources)} + {_OF_POLICY}"
    findings = f"variables.enforced.filter(p, !{below}).map(p, {told(RuleId.RESIDENCY_VIOLATION, 's.field', reason)})"
    return each("variables.sources", "s", findings)


def elsewhere(rule: RuleId, field: str, path: str, word: str, listing: str) -> str:
    """Findings for the address in this part of the object, where its host is not on the list; ``word`` is what answers there."""
    here = f"object.{path}"
    host = f"{here}.value().find({text(_HOST)}).substring(3).lowerAscii().find('^.*[^.]')"
    hosts = _allowed(listing)
    reason = f"{shown('h')} + ' is not among the {word} hosts: ' + {listed(hosts)} + {_OF_POLICY}"
    refusing = f"variables.enforced.filter(p, !({text(EVERYTHING)} in {hosts} || h in {hosts}))"
    return each(f"({here}.hasValue() ? [string({host})] : [])", "h", f"{refusing}.map(p, {told(rule, text(field), reason)})")


DEMANDING: Variables = {"demanding": f"variables.enforced.filter(p, p.?requireDigests.orValue(variables.rank >= {_RANK})).map(p, p.name)"}
"""Names of the policies that ask for digests."""
BY_THEM = "' (policy ' + variables.demanding.join('\\u0020+ ') + ')'"
"""The blank is escaped because neighbouring literals are joined by what would stand here otherwise."""


def unpinned(fields: str) -> str:
    """Findings for a list of fields that name something without its digest; what several policies ask alike is said once."""
    finding = told(RuleId.NOT_PINNED, "f + '.digest'", f"'is absent' + {BY_THEM}")
    return f"(variables.demanding.size() == 0 ? [] : {fields}.map(f, {finding}))"


_OF_POLICY = "' (policy ' + p.name + ')'"


def _allowed(name: str) -> str:
    """An allow-list as it counts at this level: unset is everything below confidential and nothing from there on."""
    return f"p.?{name}.orValue(variables.rank >= {_RANK} ? [] : [{text(EVERYTHING)}])"


def _source(field: str, uri: str, digest: str) -> str:
    """Maps have values of one type, and where the kind is not known yet that of a field is none."""
    return f"{{'field': {text(field)}, 'uri': string({uri}), 'digest': string({digest})}}"
