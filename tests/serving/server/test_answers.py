"""A slow reader gets what came meanwhile as one piece, and nothing twice."""

from finetune_inference.server.answers import Answer
from finetune_inference.server.sampling import Likelihoods
from finetune_inference.server.sequence import Finish, Piece, TokenFacts

FACT = TokenFacts(1, Likelihoods(-1.0, ()))


async def test_pieces_that_came_meanwhile_are_joined() -> None:
    closed: list[bool] = []
    answer = Answer(lambda _: None, lambda: closed.append(True))
    answer.add(Piece("a", 1, (FACT,)))
    pieces = answer.pieces()
    assert await anext(pieces) == Piece("a", 1, (FACT,))
    answer.add(Piece("b", 1))
    answer.add(Piece("c", 2, (FACT,)))
    assert not closed
    answer.add(Piece("", 1, (), Finish.STOP))
    assert [piece async for piece in pieces] == [Piece("bc", 4, (FACT,), Finish.STOP)]
    assert closed == [True]
