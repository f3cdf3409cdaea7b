"""CEL as text: literals, and findings in the very words that `decide` has for them."""

from collections.abc import Iterable

from finetune_trainer.contract.governance import RULES, RuleId
from finetune_trainer.contract.governance.enclosure import ENCLOSURE_RULES, EnclosureRuleId

NOTHING = "[]"


def text(value: str) -> str:
    """A literal of this text."""
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def texts(values: Iterable[object]) -> str:
    """A list of literals."""
    return "[" + ", ".join(text(str(value)) for value in values) + "]"


def told(rule: RuleId | EnclosureRuleId, field: str, reason: str) -> str:
    """One finding as text; ``field`` and ``reason`` are CEL that yields text."""
    explained = RULES[rule] if isinstance(rule, RuleId) else ENCLOSURE_RULES[rule]
    return _joined(f"{text(rule + ': ')} + {field} + ': ' + {reason} + {text('. ' + explained.remedy)}")


def when(condition: str, finding: str) -> str:
    """A list of this finding where the condition holds, else of none."""
    return f"({condition} ? [{finding}] : {NOTHING})"


def quoted(value: str, *, before: str = "", after: str = "") -> str:
    """CEL that puts the value in quotation marks, between two texts."""
    return f"{text(before + chr(39))} + {value} + {text(chr(39) + after)}"


def together(lists: Iterable[str]) -> str:
    """One list of all, each on a line of its own."""
    return "\n+ ".join(lists)


def each(things: str, name: str, findings: str) -> str:
    """One list of what ``findings``, a list of texts without line breaks, yields for each of the things: CEL has lists of lists only."""
    lines = f"{things}.map({name}, {findings}.join('\\n')).filter(t, t != '').join('\\n')"
    return f"{lines}.split('\\n').filter(t, t != '')"


def listed(words: str, limit: int = 6) -> str:
    """Some of a list of different texts, and how many more there are, as `finetune_trainer.contract.governance.findings.listed` has it."""
    some = f"{words}.filter(w, {words}.indexOf(w) < {limit}).join(', ')"
    more = f"({words}.size() > {limit} ? ' and ' + string({words}.size() - {limit}) + ' more' : '')"
    return f"({words}.size() == 0 ? 'none' : {some} + {more})"


def shown(value: str, limit: int = 80) -> str:
    """A text in quotation marks and not too long, as `findings.shown` has it; one with more than plain characters is not shown."""
    plain = f"({value}.size() > {limit} ? {value}.substring(0, {limit - 1}) + '…' : {value})"
    return f"'\\'' + ({value}.matches('^[ -~]*$') ? {plain} : 'more than plain characters') + '\\''"


def differs(path: str) -> str:
    """Whether a part of the object, which may be absent, is another than before."""
    return f"object.{path} != oldObject.{path}"


def _joined(parts: str) -> str:
    """Neighbouring literals as one. A quotation mark within a literal is escaped, so this is an end and a beginning."""
    return parts.replace("' + '", "")
