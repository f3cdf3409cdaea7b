"""The alias in replies: however the bytes are cut, and never inside of text."""

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from finetune_inference.router.rewrite import HELD_LIMIT, AliasRewriter

VERSION, ALIAS = "tickets--aaaaaaaaaaaa", "tickets"


def event(content: str, gap: bool = False) -> bytes:
    separators = (", ", ": ") if gap else (",", ":")
    return (
        b"data: " + json.dumps({"model": VERSION, "choices": [{"delta": {"content": content}}]}, separators=separators).encode() + b"\n\n"
    )


def fed(stream: bytes, cuts: list[int]) -> bytes:
    rewriter = AliasRewriter(VERSION, ALIAS)
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return b"".join(rewriter.feed(stream[a:b]) for a, b in pairwise(edges) if a < b) + rewriter.rest()


@given(
    contents=st.lists(
        st.one_of(st.text(), st.just(f'"model":"{VERSION}"'), st.just(VERSION), st.just(f'"{VERSION}')), min_size=1, max_size=5
    ),
    gap=st.booleans(),
    cuts=st.lists(st.integers(0, 10_000), max_size=8),
)
def test_clients_read_the_alias_and_the_very_text_of_the_engine(contents, gap, cuts):
    replied = fed(b"".join(event(content, gap) for content in contents) + b"data: [DONE]\n\n", cuts)
    documents = [json.loads(line[6:]) for line in replied.split(b"\n") if line.startswith(b"data: {")]
    assert [document["model"] for document in documents] == [ALIAS] * len(contents)
    assert [document["choices"][0]["delta"]["content"] for document in documents] == contents
    assert replied.endswith(b"data: [DONE]\n\n")


def test_a_whole_event_is_sent_on_at_once():
    rewriter = AliasRewriter(VERSION, ALIAS)
    assert rewriter.feed(event("a")) == event("a").replace(VERSION.encode(), ALIAS.encode())
    assert rewriter.rest() == b""


@given(start=st.integers(HELD_LIMIT - 100, HELD_LIMIT + 100))
def test_a_line_without_an_end_is_not_held_without_an_end(start):
    rewriter = AliasRewriter(VERSION, ALIAS)
    line = b"x" * start + f'{{"model":"{VERSION}"}}'.encode() + b"y" * 200
    sent = [rewriter.feed(line[: start + 15]), rewriter.feed(line[start + 15 :])]
    assert b"".join(sent) + rewriter.rest() == line.replace(VERSION.encode(), ALIAS.encode())
    assert any(sent)
