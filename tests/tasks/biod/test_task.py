"""bioD: parameters, vocabulary, what users are told, and the scorer."""

import pytest

from canonlab.errors import InputError
from canonlab.tasks.biod import BioD
from canonlab.tasks.catalog import build_task

TASK = BioD(N=30, K=3, C=2, D=5, L=2, T=7, N0=1000, context=100)


def test_the_preset_is_the_default() -> None:
    assert build_task("biod") == BioD()


def test_vocabulary() -> None:
    names = [token.name for token in TASK.vocabulary]
    assert names == ["<eos>", "a1", "a2", "a3", "v0", "v1", "v2", "v3", "v4", "v5", "v6"]


@pytest.mark.parametrize(("T", "N0", "digits"), [(10, 1, 1), (10, 10, 1), (10, 11, 2), (2, 1024, 10), (2, 1025, 11)])
def test_names_have_the_fewest_digits(T: int, N0: int, digits: int) -> None:
    assert BioD(N=1, D=2, T=T, N0=N0).digits == digits


def test_facts_and_warnings() -> None:
    exposure, record, known = TASK.facts()
    assert record == "a record: 20 tokens, <eos> and 4 of the name included" and TASK.length == 20
    assert exposure == "an exposure: 6 windows, which show each of 30 people once"
    assert known.startswith("all there is to know: 619.1 bits (names 151.8, values 417.9, diversity 49")
    assert TASK.warnings() == [] and BioD().warnings() == []
    assert BioD(N=1).warnings() == ["N = 1: 95.5% of the tokens fill up windows and aren't trained on"]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"N": 0}, "N = 0: must be an integer of at least 1"),
        ({"N": 11, "N0": 10}, "N = 11: must be at most N0 = 10, as all names differ"),
        ({"N0": 0}, "N0 = 0"),
        ({"K": 0}, "K = 0: must be an integer"),
        ({"T": 1}, "T = 1"),
        ({"D": 26, "T": 5, "L": 2}, r"D = 26: must be at most T\^L = 25, the number of all strings"),
        ({"K": 10_000, "C": 100, "L": 100}, "K, C, L = 10000, 100, 100: make a record of 100010005 tokens"),
        ({"context": 1}, "context = 1"),
        ({"tokenizer": "own"}, "unknown task parameter 'tokenizer'"),
    ],
)
def test_wrong_settings(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        build_task("biod", settings)
    assert "\n" not in str(caught.value)


def test_the_attribute_that_is_left() -> None:
    examples = [example for row in TASK.windows(0, 0, 6).tokens.tolist() for example in TASK.examples(row)]
    assert len(examples) == 30, "a context of five whole records"
    assert [TASK.examples(row[1:9]) for row in TASK.windows(0, 0, 6).tokens.tolist()] == [[]] * 6, "inside of a record"
    prompt, answer = examples[0]
    assert sorted([prompt[5], prompt[10], *answer]) == [1, 2, 3]
    assert TASK.score(prompt, answer).right
    for wrong in ([], [*answer, 0], [prompt[5]], [0], ["x"]):
        assert not TASK.score(prompt, wrong).right
    left = TASK.vocabulary[answer[0]].name
    assert TASK.score(prompt, [prompt[5]]).why.startswith(f"the attribute that is left is '{left}', not 'a")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("v1", r"prompt\[0\]: must be <eos>, not 'v1'"),
        ("<eos> v1 v1 a1", r"prompt\[3\]: must be a token of a name, not 'a1'"),
        ("<eos> v1 v1 v2 v2 v3", r"prompt\[5\]: must be an attribute, not 'v3'"),
        ("<eos> v1 v1 v2 v2 a1 v1 v1 v1 v1 a1", r"prompt\[10\]: the attribute 'a1' stands there twice"),
        ("<eos> v1 v1 v2 v2 a1 v1 v1 v1 v1 a2 v0", r"prompt\[12\]: must be a token of a value, not the prompt's end"),
        ("<eos> v1 v1 v2 v2 a1 v1 v1 v1 v1 a2 v0 v0 v0 v0 a3", r"prompt\[15\]: must be the prompt's end, not 'a3'"),
    ],
)
def test_wrong_prompts(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        TASK.score([TASK.vocabulary.id(name) for name in text.split()], [1])
