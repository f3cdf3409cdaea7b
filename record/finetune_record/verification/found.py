"""What one check finds."""

from dataclasses import dataclass

from finetune_record.problems import Check, Problem


@dataclass(frozen=True)
class Found:
    """``checked`` says what was looked at and how much of it, ``notes`` what could not be looked at and what that leaves open."""

    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()

    def __add__(self, other: "Found") -> "Found":
        return Found(self.problems + other.problems, self.notes + other.notes, self.checked + other.checked)


def problem(check: Check, where: str, message: str) -> Found:
    """One problem and nothing else."""
    return Found(problems=(Problem(check, where, message),))
