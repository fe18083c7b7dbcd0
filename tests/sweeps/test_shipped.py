"""The references' runs that come with the package."""

import zipfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from canonlab.errors import InputError
from canonlab.results.load import load_runs
from canonlab.sweeps import shipped
from canonlab.sweeps.shipped import ARCHIVE, PARTS, pack, unpack
from canonlab.sweeps.suite import REFERENCES, SKILLS, Architecture, suite
from canonlab.training.loop import train
from canonlab.training.plan import plan_runs
from canonlab.training.run import create_run
from tiny_runs import Recorder, tiny_config

HOW = "canonlab compare with all references, then sweeps.shipped.pack: see CONTRIBUTING.md"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Path]], Path]:
    """Makes some runs those that come with the package."""
    monkeypatch.setattr(shipped, "files", lambda name: tmp_path)
    (tmp_path / ARCHIVE).parent.mkdir(parents=True)

    def put(folders: list[Path]) -> Path:
        pack(folders, tmp_path / ARCHIVE)
        return tmp_path / ARCHIVE

    return put


def test_what_is_packed_comes_out_as_runs_that_are_made(tmp_path: Path, package: Callable[[list[Path]], Path]) -> None:
    folders = [tmp_path / "runs" / f"seed-{seed}" for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        train(create_run(tiny_config(seed=seed), folder), Recorder(), "canonlab train")
    archive = package(folders)
    first = archive.read_bytes()
    assert package(folders[::-1]).read_bytes() == first
    told = unpack(tmp_path / "out")
    assert told.startswith("references come with the package, measured on ") and "with canonlab" in told
    found, made = load_runs([tmp_path / "out"]), load_runs([tmp_path / "runs"])
    assert [(run.record.identity, run.result, run.curves) for run in found] == [
        (run.record.identity, run.result, run.curves) for run in made
    ]
    assert {path.name for path in (tmp_path / "out" / "seed-0").iterdir()} == set(PARTS)


def test_a_folder_that_exists_stays_as_it_is(tmp_path: Path, package: Callable[[list[Path]], Path]) -> None:
    folders = [tmp_path / "runs" / name for name in ("mine", "other")]
    for seed, folder in enumerate(folders):
        train(create_run(tiny_config(seed=seed), folder), Recorder(), "canonlab train")
    package(folders)
    working = tmp_path / "out" / "mine"  # somebody trains there: no result yet
    working.mkdir(parents=True)
    (working / "metrics.jsonl").write_text("mine")
    unpack(tmp_path / "out")
    assert {path.name: path.read_text() for path in working.iterdir()} == {"metrics.jsonl": "mine"}
    assert (tmp_path / "out" / "other" / "result.json").is_file()


def test_a_kill_leaves_no_half_of_a_run(
    tmp_path: Path, package: Callable[[list[Path]], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs" / "mine"
    train(create_run(tiny_config(), folder), Recorder(), "canonlab train")
    package([folder])
    whole, before = shipped.ZipFile.extractall, []

    def killed(self: zipfile.ZipFile, path: str, members: list[str]) -> None:
        whole(self, path, members[:1])
        before.append((Path(path) / "mine").is_dir())
        raise KeyboardInterrupt

    monkeypatch.setattr(shipped.ZipFile, "extractall", killed)
    with pytest.raises(KeyboardInterrupt):
        unpack(tmp_path / "out")
    assert before == [True] and not list((tmp_path / "out").iterdir())


def test_a_place_that_is_no_folder_is_said(tmp_path: Path, package: Callable[[list[Path]], Path]) -> None:
    folder = tmp_path / "runs" / "mine"
    train(create_run(tiny_config(), folder), Recorder(), "canonlab train")
    package([folder])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="out = .*file.*: cannot be written"):
        unpack(tmp_path / "file")


def test_without_an_archive_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "files", lambda name: tmp_path)
    with pytest.raises(InputError, match="references = shipped: this canonlab has none"):
        unpack(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_all_references_of_the_suite_are_shipped_as_they_are_now() -> None:
    """Where this fails a miniature has changed: measure the references anew."""
    wanted = {plan.identity for plan in plan_runs(suite(SKILLS, [Architecture(*each) for each in REFERENCES], 3))}
    with zipfile.ZipFile(str(files("canonlab").joinpath(ARCHIVE))) as archive:
        names = {name.partition("/")[0] for name in archive.namelist()}
    assert {name[-10:] for name in names} == {identity[:10] for identity in wanted}, HOW
