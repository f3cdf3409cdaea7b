"""What a verification finds, each with the file or field in question."""

from dataclasses import dataclass
from enum import StrEnum


class Check(StrEnum):
    """What is looked at, in order."""

    FOLDER = "folder"
    SIGNATURE = "signature"
    STATEMENT = "statement"
    FILES = "files"
    DOCUMENTS = "documents"
    MODEL_SIGNATURE = "model signature"
    CHAIN = "chain"
    ANCHORS = "anchors"


@dataclass(frozen=True)
class Problem:
    """``where`` is a file, or a file and a field of it."""

    check: Check
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"
