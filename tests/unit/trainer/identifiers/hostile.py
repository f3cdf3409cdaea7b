"""Rows of any length that are built to hurt one recognizer each: what nearly matches, or is never validated, again and again."""

import random
import re

PIECES: dict[str, str] = {
    "card": "4111 1111 1111 1112 ",
    "iban": " DE89 3704 0044 0532 0130 01",
    "ssn": "123 45 6789 ",
    "ssn-labelled": "ssn ssn: 000123456 ",
    "aadhaar": "2341 2341 2346 ",
    "nhs-number": "943 476 5919 ",
    "npi": "npi 1234567890 ",
    "vin": "1HGCM82633A004352 ",
    "imei": "imei 490154203237519 ",
    "email": "a@b.c.d.e.f.g.h.i.",
    "phone-international": "+1 2 3 4 5 6a ",
    "phone-parentheses": "(200) 200-200a",
    "phone-american": "212-555-123a ",
    "phone-national": "07 123 12 ",
    "phone-labelled": "phone phone 1 2 3 4 5 6a ",
    "ip-four": "999.999.999.999 ",
    "ip-six": "a:b:c:d 2000:::1 ",
    "mac-address": "00-00-00-00-00-00 ",
    "url": "a:// ",
    "url-www": "www.www.1",
    "date-iso": "2024-13-13 1999",
    "date-figures": "45.45.2024 ",
    "date-words": "may 2024 ",
    "medical-record": "mrn mrn patient no is 12 ",
    "health-plan": "member id: member id: aaaa-1 ",
    "account": "account no account no 12 ",
    "licence": "passport passport no ab 12 ",
    "device-labelled": "serial no serial no 12 ",
    "birth-date": "born dob born 12 ",
    "private-key": "-----BEGIN RSA PRIVATE ",
    "putty-key": "PuTTY-User-Key-File-x",
    "aws-access-key": "AKIAAKIA AKIAABCDEFGHIJKLMNO ",
    "aws-session-key": "ASIAASIA ASIAABCDEFGHIJKLMNO ",
    "google-api-key": "AIzaAIza AIza0123456789 ",
    "google-oauth-secret": "GOCSPX-0123456789012345678901234 ",
    "azure-storage-key": "AccountKey=0123456789",
    "github-token": "ghp_ghp_ ghp_0123456789 ",
    "github-fine-grained-token": "github_pat_github_pat_0123456789012345678901_",
    "gitlab-token": "glpat-0123 ",
    "slack-token": "xoxb-123 ",
    "stripe-key": "sk_live_sk_live_ ",
    "npm-token": "npm_0123456789 ",
    "pypi-token": "pypi-AgEIcHlwaS012345 ",
    "hugging-face-token": "hf_0123456789 ",
    "openai-key": "sk-proj-0123456789 ",
    "sendgrid-key": "SG.0123456789012345678901.012 ",
    "digitalocean-token": "dop_v1_0123456789 ",
    "json-web-token": "eyJ0123456789eyJ.eyJ01234567 ",
    "password-in-url": "a://b:c:d:e ",
}
"""By the name of the recognizer."""

RUNS = (
    *("1", "a", "A", "1 ", "1-", "1.", "-", ":", "a:", "@", "a@", "://", "eyJ", "f0:", "\uff11", "+1(", "\u00e9", "\n", "A1", "a."),
    *("0", "0 ", "9", "9.", "(", "+", "+1 ", "+1 2 ", "19", "2019-", "\uff11\uff0d", "aaaaaaaaaaaaaaa1", "AAAAAAA1", "1a", "mrn", "med1"),
    *("-::-@0", "-:::z0"),
)
"""What is the same all over: for repeats that could be tried from every place."""


def _by_turns() -> str:
    """All pieces, many times, each with other digits in its form: nothing is met twice, and all patterns have something to do."""
    chance = random.Random(7)
    turned = [re.sub("[1-9]", lambda _digit: chance.choice("123456789"), piece) for piece in [*PIECES.values()] * 40]
    return "".join(turned)


ALL_BY_TURNS = "all pieces by turns"
ROWS: dict[str, str] = {**PIECES, **{repr(run): run for run in RUNS}, ALL_BY_TURNS: _by_turns()}
"""What each is made of, by its name."""


def row(piece: str, characters: int) -> str:
    return (piece * (characters // len(piece) + 1))[:characters]
