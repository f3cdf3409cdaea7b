"""What a client sees of the tokens: whole characters, and nothing of a stop string."""

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from finetune_inference.server.text import StopStrings, Transcript


@given(st.lists(st.text("abS", max_size=4), max_size=12), st.lists(st.text("abS", min_size=1, max_size=3), max_size=3))
def test_however_the_text_is_cut_it_ends_before_the_first_stop_string(pieces: list[str], stops: list[str]) -> None:
    whole = "".join(pieces)
    ends = [end for end in (whole.find(stop) for stop in stops) if end >= 0]
    filtered, shown, stopped = StopStrings(stops), "", False
    for piece in pieces:
        text, stopped = filtered.feed(piece)
        shown += text
        if stopped:
            break
    if not stopped:
        shown += filtered.flush()
    assert stopped == bool(ends)
    # With several stops the one that is complete first wins, though another may have begun before it.
    if not ends or len(stops) == 1:
        assert shown == whole[: min(ends, default=len(whole))]
    assert whole.startswith(shown)
    assert not any(stop in shown for stop in stops)


def test_what_may_become_a_stop_string_waits_and_the_rest_does_not() -> None:
    stops = StopStrings(["END"])
    assert stops.feed("good E") == ("good ", False)
    assert stops.feed("N") == ("", False)
    assert stops.feed("X") == ("ENX", False)
    assert stops.flush() == ""


def _bytes_tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def test_a_character_of_several_tokens_is_shown_once_it_is_whole() -> None:
    tokenizer = _bytes_tokenizer()
    transcript = Transcript(tokenizer, tokenizer.encode("say: ").ids, ())
    shown = [transcript.add(token)[0] for token in tokenizer.encode("aé€").ids]
    assert shown == ["a", "", "é", "", "", "€"]


def test_a_stop_string_of_several_tokens_ends_the_answer() -> None:
    tokenizer = _bytes_tokenizer()
    transcript = Transcript(tokenizer, [], ["\n\n"])
    added = [transcript.add(token) for token in tokenizer.encode("ab\nc\n\nd").ids]
    assert added[:6] == [("a", False), ("b", False), ("", False), ("\nc", False), ("", False), ("", True)]
