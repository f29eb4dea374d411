"""This package beside its peers: `python -m benchmarks` measures and writes it down.

Each comparison is a module with a function `compared(rounds)`:

    accuracy.py       errors in units in the last place
    calls.py          from Python, jitted, a whole curve
    compiling.py      restarts and horizons
    training_step.py  an optimizer step, and what it is compiled to
    population.py     a sweep of 64
    importing.py      `import optax_cosine` over `import optax`
    growth.py         more phases, more members
    limits.py         every cost that has a limit, in CPU time

    accelerator.py    a command of its own, for a GPU or a TPU

    race.py           of these: a population trained, in one program and in a loop
    program.py        of these: a schedule compiled, edited, called
    optimizer.py      of these: an AdamW step
    cases.py          the schedules that they measure

    __main__.py       the command; each comparison in a process of its own
    processes.py      such a process
    conditions.py     processor, versions, date
    pictures.py       of the three that say most
    peers.py          other libraries
    report.py         RESULTS.md from results.json
    timing.py         everything in turn
    tables.py         what a comparison returns: tables of medians and ratios
"""
