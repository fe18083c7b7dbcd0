"""A task's vocabulary as a tokenizer for transformers: each word between spaces is the name of a token."""

from typing import Any

from canonlab.tasks.base import Task


def tokenizer_files(task: Task) -> dict[str, dict[str, Any]]:
    """tokenizer.json and tokenizer_config.json, parsed. A word that names no token is an error where it is read."""
    ids = {token.name: token.id for token in task.vocabulary}
    special = {"bos_token": task.separator, "eos_token": end_name(task), "pad_token": pad_name(task)}
    named = {key: name for key, name in special.items() if name is not None and name in ids}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [{"id": ids[name], "content": name, **flags, "special": True} for name in sorted(set(named.values()))]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": ""},
    }
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        **named,
    }
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": about}


def end_name(task: Task) -> str | None:
    """The token that ends what a model writes: <eos>, or what opens the next instance; None where there is neither."""
    if any(token.name == "<eos>" for token in task.vocabulary):
        return "<eos>"
    return task.separator if task.separator_id is not None else None


def pad_name(task: Task) -> str:
    """The token that stands where a batch is padded, which no model sees."""
    name: str = task.vocabulary[task.separator_id or 0].name
    return name
