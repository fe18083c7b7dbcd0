"""The command that looks at a folder of runs, often and from anywhere: it loads nothing heavy."""

import time
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from canonlab.cli import terminal
from canonlab.cli.sweep_log import SweepLog
from canonlab.sweeps.status import Observer
from canonlab.training.parts import INTERRUPTED, RUNNING, TO_DO


def status(
    folder: Annotated[Positional[Path], arg(metavar="DIR", help="Folder of a sweep's runs.")],
    watch: Annotated[FlagCreatePairsOff[bool], arg(help="Go on showing it until all is done.")] = False,
    as_json: Annotated[FlagCreatePairsOff[bool], arg(name="json", help="Machine-readable output.")] = False,
) -> None:
    """How far a folder of runs is: done, running, failed and why, time left, the best of each cell so far."""
    observer = Observer(folder)
    if not watch:
        found = observer.survey()
        terminal.print_json(found.plain()) if as_json else SweepLog.print(found)
        return
    with SweepLog() as shown:
        while (found := observer.survey()).of(RUNNING, INTERRUPTED, TO_DO):
            shown.update(lambda: found)
            time.sleep(1)
        shown.update(lambda: found, last=True)
