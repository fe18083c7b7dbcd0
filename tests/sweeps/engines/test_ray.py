"""Workers on Ray: a real cluster of two nodes, of which one dies; and what is known without a cluster."""

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from canonlab.errors import InputError
from canonlab.sweeps.engines import Crew, ray
from canonlab.sweeps.prepare import prepare
from tiny_runs import listed, tiny_config

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray isn't installed")


def test_what_ray_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "optional", lambda *names: None)
    ray.require(Crew(options={"address": "10.0.0.1:6379"}, gpus=0.5))
    with pytest.raises(InputError, match=r"unknown option of ray 'adress'; did you mean 'address'\?"):
        ray.require(Crew(options={"adress": "auto"}))
    with pytest.raises(InputError, match=r"address = 6379: must be a cluster's address"):
        ray.require(Crew(options={"address": 6379}))
    with pytest.raises(InputError, match=r"gpus = 2: must be at most 1"):
        ray.require(Crew(gpus=2))


def test_ray_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"ray needs ray, which isn't installed: pip install 'canonlab\[ray\]'"):
        ray.require(Crew())


def test_as_many_workers_as_the_nodes_have_room_for() -> None:
    def nodes(*resources: dict[str, float]) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": each} for each in resources]

    found = nodes({"CPU": 7.0}, {"CPU": 2.0}, {"memory": 1e9})
    assert [ray.places(found, threads, 0) for threads in (1, 2, 3, 8)] == [9, 4, 2, 0]
    assert ray.places([{**each, "Alive": False} for each in found], 1, 0) == 0
    assert ray.places(nodes({"CPU": 16.0, "GPU": 2.0}, {"CPU": 16.0}), 1, 0.1) == 16
    assert ray.places(nodes({"CPU": 64.0, "GPU": 3.0}), 4, 0.1) == 16
    assert ray.places(nodes({"CPU": 64.0, "GPU": 3.0}), 1, 0.3) == 10


def test_a_node_that_lacks_the_folder(tmp_path: Path) -> None:
    assert ray._task()(str(tmp_path / "list.json"), {}, None) == (
        False,
        f"{os.uname().nodename}, a node of the Ray cluster, doesn't see {tmp_path}/list.json; "
        "runs must be in a shared folder",
    )


def test_a_node_on_which_no_worker_can_begin(tmp_path: Path) -> None:
    runs = listed([tiny_config()], tmp_path)
    finished, wrong = ray.make(str(runs.path), {"PYTHONPATH": str(tmp_path), "PYTHONHOME": str(tmp_path)}, None)
    assert not finished and "3 workers ended with status 1 before they had a run" in wrong


@needs_ray
def test_a_node_that_lacks_canonlab() -> None:
    from ray import cloudpickle

    script = (
        "import pickle, sys; sys.modules['canonlab'] = None\n"
        "print(pickle.load(sys.stdin.buffer)('/there/list.json', {}, None))"
    )
    told = subprocess.run([sys.executable, "-c", script], input=cloudpickle.dumps(ray._task()), capture_output=True)
    assert told.stdout.startswith(b"(False, \"canonlab isn't installed on "), told.stderr


@needs_ray
@pytest.mark.slow
def test_no_cluster_at_an_address(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no Ray cluster answers at 127.0.0.1:1: "):
        next(ray.run(prepare([tiny_config()], tmp_path, "tiny", ""), Crew(options={"address": "127.0.0.1:1"})))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of two nodes with a core each, whose processes are real ones of this machine."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    made.shutdown()


@pytest.fixture
def second(cluster: Any) -> Any:
    """The cluster's second node, anew."""
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    return node


def family(pid: int) -> list[int]:
    """A process and all that it has begun, and those have."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


@needs_ray
@pytest.mark.slow
def test_a_node_dies_and_all_runs_are_made(
    cluster: Any, second: Any, eight: Any, undisturbed: dict[str, str], until: Callable[..., Any]
) -> None:
    raylet = second.all_processes["raylet"][0].process.pid
    with eight.sweep("--engine", "ray", environment=os.environ | {"RAY_ADDRESS": cluster.address}) as sweep:
        until(lambda: len(eight.working()) == 2)
        doomed = until(lambda: set(family(raylet)) & eight.working().keys())
        name = eight.working()[doomed.pop()].name
        for pid in family(raylet):  # as when the machine loses power
            os.kill(pid, signal.SIGKILL)
        _, told = sweep.communicate(timeout=200)
    assert sweep.returncode == 0, told
    cluster.remove_node(second)
    assert eight.weights() == undisturbed
    assert eight.sessions().pop(name)[1] >= 100, "it went on from where it had been saved"


@needs_ray
@pytest.mark.slow
def test_ctrl_c_has_the_workers_save(
    cluster: Any, second: Any, eight: Any, undisturbed: dict[str, str], until: Callable[..., Any]
) -> None:
    environment = os.environ | {"RAY_ADDRESS": cluster.address}
    with eight.sweep("--engine", "ray", environment=environment) as sweep:
        until(lambda: len(eight.working()) == 2)
        sweep.send_signal(signal.SIGINT)
        _, told = sweep.communicate(timeout=60)
    assert sweep.returncode == 0 and "of 8 runs left; go on with: canonlab sweep" in told, told
    assert not eight.working()
    with eight.sweep("--engine", "ray", environment=environment) as sweep:
        until(lambda: eight.working())
        sweep.kill()  # whose workers save themselves then
    until(lambda: not eight.working(), 60)
    with eight.sweep("--engine", "ray", environment=environment) as sweep:
        _, told = sweep.communicate(timeout=200)
    assert sweep.returncode == 0, told
    cluster.remove_node(second)
    again = [step for steps in eight.sessions().values() for step in steps if step]
    assert again and any(step % 100 for step in again), "saved where they were, not where a checkpoint was due"
    assert eight.weights() == undisturbed
