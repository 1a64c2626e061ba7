"""Trainings as jobs: each is a process of `python -m pf_core train` with a folder, and continues when the server ends.

    jobs = Jobs(watch=True)             # one a server; root: checkpoint.RUNS; `watch` starts the runs in the queue
    jobs.create("first", recipe, Intervals(samples=200))     # -> Info; queued, and started if nothing else trains
    for info in jobs.all(): info.name, info.state, info.message, info.step, info.steps, info.seconds_left, info.place
    jobs.pause / resume / stop / force_stop / save_now / sample_now (name) -> Info;  jobs.delete(name)
    jobs.fork("first", "second", other_recipe)               # from the saved state; step=1500: from a kept network
    entries, token, fresh = jobs.folder("first").follow(token)   # metrics since the last call; `fresh`: start over
    steps, values = column(entries, "mse"); smooth(values)   # from pf_core.training.validation
    jobs.samples(name), jobs.file(name, "sheet" | "strip" | "trajectory", step); jobs.kept(name)
    jobs.packed(name)                   # the whole run as a zip, in pieces;  jobs.network(name) -> Path of its weights
    jobs.create(..., device="cpu"); see pf_core.training.plans for PLANS, pair, estimate
    jobs.usage(name) or jobs.usage(); jobs.settings; jobs.configure(parallel=2, threads=1, nice=19, disk_gb=10)

Every method raises InputError with a sentence for users. A network opens everywhere as "runs/first" or
"runs/first@1500" (checkpoint.load). Everything is stored on disk: a second Jobs, or one after a restart, sees the same
runs, and states are derived from the running processes when they are read.

Lines of the metrics have step and, every `intervals.log` steps: total, mse, nll (absent for the SiT baseline),
grad_norm, rate (the schedule's factor), lr, images_per_second, seconds, seconds_left; every `intervals.validate` steps:
validation (MSE at each of loop.SEGMENTS) and calibration (one {"t", "predicted", "real"} a segment: mean predicted
difficulty and mean real squared error of ten bins of patches, sorted by the prediction).
"""
