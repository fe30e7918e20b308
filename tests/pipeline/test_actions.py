"""Action text: torch's spelling both ways, and everything its lax parser lets through refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.pipeline.actions import Action, Kind, Overlap, parse_action
from chimera.pipeline.errors import InputError

numbers = st.integers(0, 5000)
none = st.just(-1)


def actions(
    *kinds: Kind, also: st.SearchStrategy[int] = none, half: st.SearchStrategy[int] = none
) -> st.SearchStrategy[Action]:
    return st.tuples(numbers, st.sampled_from(kinds), numbers, also, half).map(Action._make)


plain = actions(Kind.F, Kind.B, Kind.I, Kind.W, Kind.SEND_F, Kind.RECV_F, Kind.SEND_B, Kind.RECV_B)
doubled = actions(Kind.F, Kind.SEND_F, Kind.RECV_F, also=numbers)
halves = actions(Kind.B, Kind.I, Kind.W, half=st.integers(0, 1))
whole_stage = st.tuples(numbers, st.sampled_from([Kind.REDUCE_GRAD, Kind.STEP])).map(lambda pair: Action(*pair))
overlaps = st.tuples(actions(Kind.F), actions(Kind.B, Kind.I)).map(Overlap._make)


@given(st.one_of(plain, doubled, halves, whole_stage, overlaps))
def test_text_round_trips(action: Action | Overlap) -> None:
    assert parse_action(str(action)) == action


@pytest.mark.parametrize("text", ["2F5", "0SEND_F3", "(0F7;7B3)OVERLAP_F_B", "1REDUCE_GRAD"])
def test_torch_spelling(text: str) -> None:
    assert str(parse_action(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "0F1junk",
        "2BW0",
        "2B",
        "",
        "F1",
        "0X1",
        "0B1+2",
        "0F1.0",
        "0F1 ",
        "-1F0",
        "1STEP3",
        "(0B1;1B1)OVERLAP_F_B",
        "(0F1;1F1)OVERLAP_F_B",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_action(text)
