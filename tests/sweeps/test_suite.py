"""The comparison for a mixer's inventor: which runs it takes, what it looks at, and when."""

import pytest

from canonlab.errors import InputError
from canonlab.models.cost import parameters
from canonlab.sweeps.suite import (
    MATCHED,
    REFERENCES,
    SKILLS,
    Architecture,
    matched,
    more_seeds,
    run_of,
    suite,
)


def test_all_are_trained_alike_but_for_model_and_seed() -> None:
    architectures = [Architecture(*each) for each in REFERENCES]
    runs = suite(SKILLS, architectures, 3)
    assert len(runs) == len({repr(run) for run in runs}) == len(SKILLS) * len(architectures) * 3
    for skill in SKILLS:
        first = run_of(skill, architectures[0], 0)
        other = run_of(skill, architectures[1], 2)
        assert first.task == other.task and "loss" in first.training.metric
        assert first.model.state_share == other.model.state_share > 0
        assert (first.training.seed, other.training.seed) == (0, 2)


def test_parameters_are_matched_by_the_mlp() -> None:
    wanted = parameters(run_of("depo", Architecture("llama-rope", "ABCD"), 0).model.decoder(64))
    for model, canon in (("gdn", "AbCD"), ("gla", "none")):
        found = parameters(run_of("depo", matched(Architecture(model, canon)), 0).model.decoder(64))
        assert found == pytest.approx(wanted, rel=MATCHED)
    with pytest.raises(InputError, match="match_params: no width of the MLP brings mamba2"):
        matched(Architecture("mamba2", "b"))  # which has none


def test_further_seeds_are_of_all_that_are_in_an_open_pair() -> None:
    again = more_seeds({"depo": [(Architecture("gdn", "b"), Architecture("gla", "none"))]}, 4)
    assert len(again) == 8 and {run.training.seed for run in again} == {0, 1, 2, 3}
