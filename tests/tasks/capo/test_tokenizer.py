"""The tokenizer against byte-pair encoding spelled out, the files it reads, and how the shipped file is made."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canonlab.errors import InputError
from canonlab.tasks.capo.pieces import texts
from canonlab.tasks.capo.tokenizer import (
    EOS,
    OWN,
    Tokenizer,
    byte_symbols,
    join,
    load_tokenizer,
    read_tokenizer,
    spell,
    units,
)
from canonlab.tasks.capo.train_tokenizer import SIZE, tokenizer_file, train, unit_counts

ASCII = st.text(st.characters(max_codepoint=127))
ANY = st.text()
WORDS = st.lists(st.sampled_from(sorted({unit for group in texts() for text in group for unit in units(text)}))).map(
    "".join
)
"""Words of biographies in any order, glued where they bring no space, so long merges and strange ones occur."""


def plain_join(text: str, pair: tuple[str, str]) -> str:
    """Tokens between single spaces, with every occurrence of the pair, from the left, joined."""
    return re.sub(rf"(?<!\S){re.escape(' '.join(pair))}(?!\S)", lambda _: "".join(pair), text)


def plain_split(merges: list[tuple[str, str]], unit: str) -> list[str]:
    """The definition: apply the first merge that can be applied, to the whole unit, and start over, until none can."""
    text = " ".join(spell(unit))
    while True:
        for pair in merges:
            if f" {' '.join(pair)} " in f" {text} ":
                text = plain_join(text, pair)
                break
        else:
            return text.split(" ")


def plain_encode(tokenizer: Tokenizer, text: str) -> list[int]:
    merges = list(tokenizer.merges)
    return [tokenizer.vocabulary[token] for unit in units(text) for token in plain_split(merges, unit)]


def plain_train(counts: Mapping[str, int], size: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Byte-pair encoding that counts all pairs anew at each step."""
    words = {unit: " ".join(spell(unit)) for unit in counts}
    tokens = [EOS[0], *sorted(byte_symbols())]
    merges: list[tuple[str, str]] = []
    while len(tokens) < size:
        pairs: Counter[tuple[str, str]] = Counter()
        for unit, text in words.items():
            for pair in pairwise(text.split(" ")):
                pairs[pair] += counts[unit]
        best = sorted(pairs, key=lambda pair: (-pairs[pair], pair))[0]
        merges.append(best)
        words = {unit: plain_join(text, best) for unit, text in words.items()}
        if "".join(best) not in tokens:
            tokens.append("".join(best))
    return tokens, merges


def toy(merges: list[tuple[str, str]]) -> Tokenizer:
    """A tokenizer of these merges."""
    tokens = dict.fromkeys([EOS[0], *byte_symbols(), *map("".join, merges)])
    return Tokenizer({token: i for i, token in enumerate(tokens)}, merges, 0)


def split(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.decode([index]) for index in tokenizer.encode(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Ada Lou Ray was born.", ["Ada", " Lou", " Ray", " was", " born", "."]),
        ("May 3, 1931.", ["May", " 3", ",", " 1931", "."]),
        ("Akron, OH.", ["Akron", ",", " OH", "."]),
        ("it's we're don't", ["it", "'s", " we", "'re", " don", "'t"]),
        ("I'm I've he'll she'd", ["I", "'m", " I", "'ve", " he", "'ll", " she", "'d"]),
        ("IT'S o'clock 's", ["IT", "'", "S", " o", "'", "clock", " '", "s"]),
        ("'sun 'tis", ["'s", "un", " '", "tis"]),
        ("12a34 b5", ["12", "a", "34", " b", "5"]),
        ("3.14 $5", ["3", ".", "14", " $", "5"]),
        ("a  b", ["a", " ", " b"]),
        ("a   b", ["a", "  ", " b"]),
        ("a  ", ["a", "  "]),
        (" a ", [" a", " "]),
        ("   ", ["   "]),
        ("a \n b", ["a", " \n", " b"]),
        ("a\n\nb", ["a", "\n", "\n", "b"]),
        ("a\tb", ["a", "\t", "b"]),
        ("a  1  !", ["a", " ", " 1", " ", " !"]),
        ("snake_case __init__", ["snake", "_", "case", " __", "init", "__"]),
        ("!?... --x", ["!?...", " --", "x"]),
        ("Zürich naïve 東京", ["Zürich", " naïve", " 東京"]),
        ("٣٤ x", ["٣٤", " x"]),
        ("a😀b", ["a", "😀", "b"]),
    ],
)
def test_units_are_those_of_gpt2(text: str, expected: list[str]) -> None:
    """GPT-2: 's|'t|'re|'ve|'m|'ll|'d, ?letters, ?digits, ?others, spaces but the last before a word, spaces."""
    assert units(text) == expected


@given(st.one_of(ASCII, ANY))
def test_units_are_the_text(text: str) -> None:
    assert "".join(units(text)) == text


def test_byte_symbols() -> None:
    """GPT-2's: printable characters are themselves, the others follow each other from U+0100 on."""
    symbols = byte_symbols()
    assert len(set(symbols)) == 256 and all(symbol.isprintable() and not symbol.isspace() for symbol in symbols)
    assert [symbols[byte] for byte in b"!~ \n\x00\x7f"] == ["!", "~", "Ġ", "Ċ", "Ā", "ġ"]
    assert [symbols[byte] for byte in (0xA0, 0xA1, 0xAD, 0xFF)] == ["ł", "¡", "Ń", "ÿ"]
    assert spell(" é") == "ĠÃ©"


def test_merges_apply_in_their_order() -> None:
    assert split(toy([("b", "c"), ("a", "b")]), "abc") == ["a", "bc"]
    assert split(toy([("a", "b"), ("b", "c")]), "abc") == ["ab", "c"]
    assert split(toy([("a", "a")]), "aaaaa") == ["aa", "aa", "a"], "from the left"
    assert split(toy([("aa", "a"), ("a", "a")]), "aaaa") == ["aa", "aa"], "all occurrences at once"
    assert split(toy([("a", "b"), ("ab", "ab")]), "ababab") == ["abab", "ab"]
    assert split(toy([("a", "b")]), "ab a b 1ab") == ["ab", " ", "a", " ", "b", " ", "1", "ab"], "within units"


def test_an_earlier_merge_that_a_later_one_makes_possible() -> None:
    """One pass over the merges would miss it."""
    assert split(toy([("abc", "d"), ("a", "b"), ("ab", "c")]), "abcd") == ["abcd"]


def test_join() -> None:
    assert join(["a", "a", "a", "b"], ("a", "a")) == ["aa", "a", "b"]
    assert join(["a", "b", "a", "b"], ("a", "b")) == ["ab", "ab"]
    assert join(["a", "b"], ("b", "a")) == ["a", "b"] and join([], ("a", "b")) == []


def test_pieces_are_encoded_as_defined() -> None:
    tokenizer = load_tokenizer()
    some = sorted({unit for group in texts() for text in group for unit in units(text)})[::5]
    assert len(some) > 500
    for unit in some:
        assert tokenizer.encode(unit) == plain_encode(tokenizer, unit), unit


@settings(max_examples=60)
@given(st.one_of(ASCII, ANY, WORDS))
def test_any_text_is_encoded_as_defined(text: str) -> None:
    tokenizer = load_tokenizer()
    assert tokenizer.encode(text) == plain_encode(tokenizer, text)


PARTS = st.sampled_from(["a", "b", "aa", "ab"])


@settings(max_examples=200)
@given(st.lists(st.tuples(PARTS, PARTS), min_size=2, max_size=8, unique=True), st.text("ab", max_size=12))
def test_any_merges_are_applied_as_defined(merges: list[tuple[str, str]], text: str) -> None:
    """Among them merges that make a token twice, or of tokens that no merge makes."""
    tokenizer = toy(merges)
    assert tokenizer.encode(text) == plain_encode(tokenizer, text)


@given(st.one_of(ASCII, ANY, WORDS))
def test_nothing_is_lost(text: str) -> None:
    tokenizer = load_tokenizer()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert len(ids) <= len(text.encode())


def test_eos_is_no_text() -> None:
    tokenizer = load_tokenizer()
    assert tokenizer.eos == 0 and tokenizer.decode([0]) == "<eos>"
    assert tokenizer.decode([0, *tokenizer.encode("Ada <eos> b"), 0]) == "<eos>Ada <eos> b<eos>"
    assert tokenizer.eos not in tokenizer.encode("<eos> x<eos><eos>")


def test_bytes_that_are_no_text() -> None:
    tokenizer = load_tokenizer()
    first, *rest = tokenizer.encode("é")
    assert tokenizer.decode([first]) == "\ufffd" and tokenizer.decode([first, *rest]) == "é"


def test_shipped_file() -> None:
    tokenizer = load_tokenizer()
    assert len(tokenizer.vocabulary) == SIZE == 3300
    assert sorted(tokenizer.vocabulary.values()) == list(range(SIZE))
    made = {"".join(pair) for pair in tokenizer.merges}
    assert set(tokenizer.vocabulary) == {"<eos>", *byte_symbols(), *made}
    assert OWN.read_bytes().isascii()


@pytest.mark.slow
def test_the_shipped_file_is_what_the_script_makes() -> None:
    assert tokenizer_file().encode("ascii") == OWN.read_bytes()


def test_training_counts_pairs_as_if_anew() -> None:
    rng = np.random.default_rng(0)
    for letters in (2, 4):
        words = {"".join(rng.choice(list("abcd"[:letters]), rng.integers(1, 9))) for _ in range(40)}
        counts = {word: int(rng.integers(1, 9)) for word in sorted(words)}
        assert train(counts, 280) == plain_train(counts, 280)


def test_training_takes_the_most_frequent_pair() -> None:
    tokens, merges = train({"ab": 3, "cab": 1, "cd": 4}, 260)
    assert merges == [("a", "b"), ("c", "d"), ("c", "ab")], "four of both, so in order"
    assert tokens == ["<eos>", *sorted(byte_symbols()), "ab", "cd", "cab"]


def test_training_weighs_units_by_how_often_they_occur() -> None:
    """Per 10^9 biographies: each entry of a list by one over its length, the pronoun's twice that of a comma."""
    counts = unit_counts()
    assert counts[" Abbott"] == 10**9 // 400
    assert counts[" January"] == 10**9 // 12
    assert counts[" He"] == 10**9 // 2


def own_file(**changes: Any) -> dict[str, Any]:
    """The shipped file with some changes, those of its model by dotted names."""
    file = json.loads(OWN.read_text("utf-8"))
    for name, value in changes.items():
        *parents, last = name.split("__")
        entry = file
        for parent in parents:
            entry = entry[parent]
        entry[last] = value
    return file


def written(folder: Path, file: Any) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(file), "utf-8")
    return path


def test_a_file_loads_by_its_path(tmp_path: Path) -> None:
    path = written(tmp_path, own_file())
    assert load_tokenizer(str(path)).encode("Ada was born.") == load_tokenizer("own").encode("Ada was born.")


def test_merges_may_be_pairs(tmp_path: Path) -> None:
    """As newer versions of `tokenizers` write them."""
    own = load_tokenizer()
    path = written(tmp_path, own_file(model__merges=[list(pair) for pair in own.merges]))
    assert list(read_tokenizer(path).merges) == list(own.merges)


def two_files(folder: Path, name: str = "<|endoftext|>", merges: str | None = None) -> Path:
    """The shipped tokenizer in the two files that GPT-2's was published as."""
    own = load_tokenizer()
    folder.mkdir()
    vocabulary = {name if token == EOS[0] else token: index for token, index in own.vocabulary.items()}
    (folder / "encoder.json").write_text(json.dumps(vocabulary), "utf-8")
    lines = "\n".join(" ".join(pair) for pair in own.merges) if merges is None else merges
    (folder / "vocab.bpe").write_text(f"#version: 0.2\n{lines}\n", "utf-8")
    return folder


def test_a_folder_with_the_files_of_gpt2(tmp_path: Path) -> None:
    own, found = load_tokenizer(), load_tokenizer(str(two_files(tmp_path / "gpt2")))
    assert (list(found.merges), found.eos) == (list(own.merges), own.eos)
    assert found.encode("Ada was born.") == own.encode("Ada was born.")
    assert found.decode([found.eos]) == "<|endoftext|>"


def test_a_folder_with_a_tokenizer_json(tmp_path: Path) -> None:
    written(tmp_path, own_file())
    assert load_tokenizer(str(tmp_path)).encode("Ada") == load_tokenizer().encode("Ada")


@pytest.mark.parametrize("wrong", [{"name": "<end>"}, {"merges": "a b c"}, {"merges": "qx zj"}], ids=str)
def test_folders_that_do_not_fit(wrong: dict[str, str], tmp_path: Path) -> None:
    folder = two_files(tmp_path / "gpt2", **wrong)
    with pytest.raises(InputError, match="^tokenizer = .*: must be byte-level BPE"):
        load_tokenizer(str(folder))
    for content in ("[]", "3", "{"):
        (folder / "encoder.json").write_text(content)
        with pytest.raises(InputError, match="^tokenizer = .*: must be byte-level BPE"):
            load_tokenizer(str(folder))
    (folder / "vocab.bpe").unlink()
    with pytest.raises(InputError, match="or of a folder with encoder.json and vocab.bpe .cannot read .*vocab.bpe"):
        load_tokenizer(str(folder))


def test_the_name_of_eos_is_gpt2s_too(tmp_path: Path) -> None:
    file = own_file(added_tokens=[{"id": 7, "content": "<pad>"}, {"id": 50256, "content": "<|endoftext|>"}])
    tokenizer = read_tokenizer(written(tmp_path, file))
    assert tokenizer.eos == 50256 and tokenizer.decode([50256]) == "<|endoftext|>"


def test_eos_need_not_be_in_the_vocabulary(tmp_path: Path) -> None:
    file = own_file(added_tokens=[{"id": 3300, "content": "<eos>"}])
    del file["model"]["vocab"]["<eos>"]
    tokenizer = read_tokenizer(written(tmp_path, file))
    assert tokenizer.decode([tokenizer.eos, *tokenizer.encode("Ada")]) == "<eos>Ada"


@pytest.mark.parametrize(
    "changes",
    [
        {"model__type": "WordPiece"},
        {"model__vocab": {"<eos>": 0, "a": 1}},
        {"model__vocab": ["<eos>", *byte_symbols()]},
        {"model__merges": [["a", "b", "c"]]},
        {"model__merges": ["qx zj"]},
        {"model__merges": 5},
        {"model": None},
        {"pre_tokenizer": None},
        {"pre_tokenizer__type": "Whitespace"},
        {"pre_tokenizer__add_prefix_space": True},
        {"pre_tokenizer__use_regex": False},
        {"normalizer": {"type": "Lowercase"}},
        {"added_tokens": []},
        {"added_tokens": None},
        {"added_tokens": [{"id": 0, "content": "<end>"}]},
    ],
    ids=str,
)
def test_files_that_do_not_fit(changes: dict[str, Any], tmp_path: Path) -> None:
    path = written(tmp_path, own_file(**changes))
    with pytest.raises(InputError, match=f"^tokenizer = {re.escape(repr(str(path)))}: must be byte-level BPE"):
        load_tokenizer(str(path))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"model"'])
def test_files_that_are_no_json_object(text: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(text)
    with pytest.raises(InputError, match="^tokenizer = .*: must be byte-level BPE"):
        load_tokenizer(str(path))


def test_paths_that_are_no_text_files(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.json", tmp_path, tmp_path / "binary", "x" * 5000, "a\0b", "", "GPT2"):
        with pytest.raises(InputError, match=r"^(tokenizer = '.*': must be|.*binary) .*$"):
            load_tokenizer(str(path))


def test_gpt2_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a package nor a network."""

    def import_module(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("canonlab.tasks.capo.tokenizer.importlib.import_module", import_module)
    with pytest.raises(InputError, match="^tokenizer = 'gpt2': needs `pip install huggingface_hub`"):
        load_tokenizer("gpt2")


@pytest.fixture(scope="module")
def hugging_face() -> Any:
    """The shipped tokenizer as the package `tokenizers` reads it."""
    package = pytest.importorskip("tokenizers", reason="needs the package `tokenizers`")
    return package.Tokenizer.from_file(str(OWN))


@settings(max_examples=300)
@given(text=st.one_of(ASCII, ANY, WORDS, st.text("ab \n\t'1²_!é\x1f")))
def test_hugging_face_agrees(hugging_face: Any, text: str) -> None:
    """Even where `units` differ, which takes rare characters, as no merge of the shipped tokenizer has them."""
    ids = load_tokenizer().encode(text)
    if EOS[0] not in text:
        assert hugging_face.encode(text).ids == ids
        assert hugging_face.decode(ids) == text
