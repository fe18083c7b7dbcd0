"""Where a sweep keeps what it knows: beside its runs, so that whoever has the folder has it all.

sweep/<recipe>.json    the runs that are to be made, and how: see `sweeps.worklist`
sweep/sources/         copies of the user's own files, by their hashes: runs begin with these
sweep/layout.json      CPU threads of each run, measured once: see `sweeps.layout`
sweep/logs/            what workers say that is of no run

What becomes of a run is in the run's own folder, see `training.run`. Loads nothing heavy.
"""

SWEEP = "sweep"
