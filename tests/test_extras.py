"""Packages that only some uses need."""

from pathlib import Path

import pytest

from canonlab.errors import InputError
from canonlab.extras import optional


def test_a_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = r"a thing needs canonlab_no_such, which isn't installed: pip install 'canonlab\[thing\]'"
    with pytest.raises(InputError, match=message):
        optional("canonlab_no_such", "thing", "a thing")
    (tmp_path / "canonlab_no_such").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=message):
        optional("canonlab_no_such", "thing", "a thing")
