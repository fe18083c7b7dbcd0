"""Workers as jobs of Slurm: a real one of a single node, where it is installed; and what is known without it."""

import importlib.util
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from canonlab.errors import Failed, InputError, Interrupted
from canonlab.sweeps.engines import Crew, local, slurm
from canonlab.sweeps.prepare import prepare
from canonlab.training.parts import INTERRUPTED, state
from tiny_runs import listed, make_runs, tiny_config

KNOWN = ("partition", "time", "gres")


@pytest.fixture
def submitit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As much of submitit and Slurm as is asked before anything begins."""
    executor = SimpleNamespace(_valid_parameters=lambda: set(KNOWN))
    monkeypatch.setattr(slurm, "optional", lambda *names: SimpleNamespace(SlurmExecutor=executor))
    command(tmp_path / "bin", "sbatch", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def command(folder: Path, name: str, does: str) -> None:
    """A program of that name in a folder."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{does}\n")
    (folder / name).chmod(0o755)


def test_what_slurm_is_not_told(submitit: None, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm.require(Crew(options={"partition": "gpu", "time": 60}, gpus=1))
    with pytest.raises(InputError, match=r"unknown option of slurm 'partiton'; did you mean 'partition'\?"):
        slurm.require(Crew(options={"partiton": "gpu"}))
    for gpus in (0.5, 2):
        with pytest.raises(InputError, match=rf"gpus = {gpus}: must be 0 or 1, as Slurm gives whole GPUs"):
            slurm.require(Crew(gpus=gpus))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match="there is no sbatch on the PATH"):
        slurm.require(Crew())


def test_submitit_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r"needs submitit, which isn't installed: pip install 'canonlab\[slurm\]'"):
        slurm.require(Crew())


def test_jobs_that_end_before_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = prepare([tiny_config(), tiny_config(seed=1)], tmp_path / "runs", "tiny", "sweep")
    logs = tmp_path / "runs" / "sweep" / "logs" / "slurm"
    logs.mkdir(parents=True)
    (logs / "7_0_0_log.err").write_text("ModuleNotFoundError: No module named 'canonlab'\n\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(slurm, "_submit", lambda *_: "7")
    monkeypatch.setattr(slurm, "LOOK", 0.0)
    command(tmp_path / "bin", "squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    engine = slurm.run(sweep, Crew())
    for _ in range(3):
        next(engine)
    command(tmp_path / "bin", "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    with pytest.raises(
        Failed, match="2 of 2 runs are left, and no job of 7 is, the last of which said: Module.*slurm/7_"
    ):
        list(engine)


def test_what_waits_in_the_queue_is_cancelled_when_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs([tiny_config()], tmp_path / "runs")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(slurm, "_submit", lambda *_: "7")
    monkeypatch.setattr(slurm, "LOOK", 0.0)
    command(tmp_path / "bin", "squeue", "echo PENDING")
    command(tmp_path / "bin", "scancel", f"echo $* > {tmp_path / 'cancelled'}")
    list(slurm.run(prepare([tiny_config()], tmp_path / "runs", "tiny", "sweep"), Crew()))
    assert (tmp_path / "cancelled").read_text() == "--state=PENDING 7\n"


def test_a_worker_that_was_told_to_stop_as_its_keeper_was_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm tells all processes of a job."""
    started = []

    def start(slot: Any) -> None:
        begin(slot)
        started.append(slot.process.pid)

    begin = local._Slot.start
    monkeypatch.setattr(local._Slot, "start", start)
    monkeypatch.setattr(local, "command", lambda *_: ["sleep", "60"])
    keeper = local.run(listed([tiny_config()], tmp_path), [{}])
    next(keeper)
    os.kill(started[0], signal.SIGTERM)
    os.waitid(os.P_PID, started[0], os.WEXITED | os.WNOWAIT)
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Interrupted):
        next(keeper)
    assert len(started) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_job_saves_before_it_is_queued_again(tmp_path: Path, number: int, until: Callable[..., Any]) -> None:
    """At the end of its time it asks for that itself; else whoever asked it to stop decides."""
    runs = listed([tiny_config(steps=100_000, eval_every=50_000, checkpoint_every=50_000)], tmp_path / "runs")
    folder = runs.folder(runs.entries[0])
    command(
        tmp_path / "bin", "scontrol", f"ls {folder}/checkpoints > {tmp_path / 'then'}; echo $* > {tmp_path / 'told'}"
    )
    script = "import sys; from pathlib import Path; from canonlab.sweeps.engines.slurm import Job"
    script += "; Job(Path(sys.argv[1]), {}, None)()"
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_ID": "9"}
    with (tmp_path / "said").open("w") as said:
        job = subprocess.Popen([sys.executable, "-c", script, str(runs.path)], env=environment, stdout=said)
    try:
        until(lambda: (log := folder / "metrics.jsonl").exists() and '"train"' in log.read_text())
        job.send_signal(number)
        until(lambda: "stopped with 1 of 1 runs left" in (tmp_path / "said").read_text())
        if number == signal.SIGUSR2:
            until(lambda: (tmp_path / "told").exists() and (tmp_path / "told").read_text() == "requeue 9\n")
            assert "last.safetensors" in (tmp_path / "then").read_text()
        time.sleep(1)
        assert job.poll() is None and (folder / "checkpoints" / "last.safetensors").exists()
        assert (tmp_path / "told").exists() == (number == signal.SIGUSR2)
    finally:
        job.kill()
        job.wait()


CONFIGURATION = """
ClusterName=test
SlurmctldHost={node}(127.0.0.1)
SlurmUser=root
AuthType=auth/none
CredType=cred/none
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
KillWait=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=2
NodeName={node} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000
PartitionName=low Nodes={node} Default=YES PriorityTier=1
PartitionName=high Nodes={node} PriorityTier=2
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which Slurm is one of ours: a node of two cores, without accounts, and nothing of the system's
    touched."""
    if importlib.util.find_spec("submitit") is None:
        pytest.skip("submitit isn't installed")
    if not (shutil.which("slurmctld") and shutil.which("slurmd")):
        pytest.skip("Slurm isn't installed: slurmctld, slurmd")
    if os.geteuid():
        pytest.skip("only root may start Slurm")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    node = platform.node().partition(".")[0]
    (folder / "slurm.conf").write_text(CONFIGURATION.format(node=node, ports=free_ports(2), folder=folder))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_"))}
    environment["SLURM_CONF"] = str(folder / "slurm.conf")
    daemons = []
    try:
        for name in ("slurmctld", "slurmd"):
            with (folder / f"{name}.log").open("w") as log:
                daemons.append(subprocess.Popen([name, "-D"], env=environment, stdout=log, stderr=log))
        end = time.monotonic() + 60
        while "idle" not in ask(environment, "sinfo", "--noheader", "--format=%T"):
            assert time.monotonic() < end, (folder / "slurmctld.log").read_text()
            time.sleep(0.5)
        yield environment
    finally:
        ask(environment, "scancel", "--partition=low")
        for daemon in daemons[::-1]:
            daemon.terminate()
            daemon.wait(60)


def ask(environment: dict[str, str], *words: str) -> str:
    return subprocess.run(words, env=environment, capture_output=True, text=True).stdout


def jobs(environment: dict[str, str], *states: str) -> list[str]:
    """The numbers of jobs in the low partition, each by itself, in any of the states."""
    return ask(environment, "squeue", "-hr", "-plow", f"-t{','.join(states)}", "-o%i").split()


@pytest.mark.slow
def test_an_array_of_eight_goes_on_when_the_sweep_is_left(
    cluster: dict[str, str], eight: Any, undisturbed: dict[str, str], until: Callable[..., Any]
) -> None:
    with eight.sweep("--engine", "slurm", "--options", "partition=low", environment=cluster) as sweep:
        until(lambda: len(jobs(cluster, "R", "PD")) == 8)
        until(eight.working)
        sweep.send_signal(signal.SIGINT)
        _, told = sweep.communicate(timeout=60)
    (number,) = {each.partition("_")[0] for each in jobs(cluster, "R", "PD")}
    assert sweep.returncode == 0, told
    said = f"job {number} goes on (scancel {number} ends it); go on with: canonlab status {eight.out} --watch"
    assert told.splitlines()[-1].endswith(said)
    with eight.sweep("--engine", "slurm", "--workers", "2", environment=cluster) as again:
        _, told = again.communicate(timeout=300)
    assert again.returncode == 0, told
    assert eight.sessions() == {name: [0] for name in undisturbed}, "nothing was made twice"
    assert eight.weights() == undisturbed
    until(lambda: not jobs(cluster, "R", "PD"))


@pytest.mark.slow
def test_a_preempted_job_is_queued_again_and_resumes(
    cluster: dict[str, str], eight: Any, undisturbed: dict[str, str], until: Callable[..., Any]
) -> None:
    with eight.sweep("--engine", "slurm", "--workers", "2", environment=cluster) as sweep:
        until(lambda: len(eight.working()) == 2)
        ask(cluster, "sbatch", "--partition=high", "--cpus-per-task=2", "--output=/dev/null", "--wrap=sleep 3")
        until(lambda: len(jobs(cluster, "PD")) == 2)
        assert not eight.working(), "saved, and let go of"
        saved = [folder for folder in eight.out.glob("copy*") if state(folder) == INTERRUPTED]
        assert saved
        for job in jobs(cluster, "PD"):  # which would wait for two minutes
            assert "Restarts=1" in ask(cluster, "scontrol", "show", "job", job)
            ask(cluster, "scontrol", "update", f"JobId={job}", "StartTime=now")
        _, told = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, told
    sessions = eight.sessions()
    assert all(len(sessions[run.name]) == 2 and sessions[run.name][1] >= 100 for run in saved), json.dumps(sessions)
    assert eight.weights() == undisturbed
