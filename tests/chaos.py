"""Kills trainings at random moments, and compares what is left with a training that nobody disturbed.

    make chaos

The kills meet both engines, a horizon of three segments, which can be hit in the middle of a draw's life, and a
curriculum, which can be hit while a stage begins or is validated. Each is SIGKILL to a process that writes a checkpoint
every 20 ms; the next process restores and goes on. At the end an undisturbed trainer passes through the same places:
at each of them, its snapshot and its history have to be bit for bit those of the checkpoint.
"""

import argparse
import functools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
from tqdm import tqdm

import l2l

FOREVER = 10**6  # meta-iterations: more than there is time for


def trainer(engine, segments, **checkpoints):
    network, steps = ((20, 20), 20) if engine == "xla" else ((5,), 4)
    return l2l.Trainer(
        l2l.Quadratic(2),
        lambda: l2l.CoordinatewiseLSTM(network, "log"),
        "end_log",
        unroll_length=steps,
        horizon=segments * steps,
        engine=engine,
        weights_seed=1,
        draws_seed=2,
        **checkpoints,
    )


def curriculum(**checkpoints):
    """Stages of a second or so, with four validations each."""
    stages = [{"meta_iterations": 200, "horizon": 4 * (i + 1)} for i in range(60)]
    return l2l.Curriculum(
        l2l.Quadratic(2),
        lambda: l2l.CoordinatewiseLSTM((5,), "log"),
        stages,
        meta_loss="end_log",
        unroll_length=4,
        validate_every=50,
        draws=4,
        engine="graph",
        weights_seed=1,
        draws_seed=2,
        **checkpoints,
    )


# Fewer kills than two for each of them go to the first ones.
TRAININGS = {
    "xla, horizon of 3": functools.partial(trainer, "xla", 3),
    "graph, horizon of 1": functools.partial(trainer, "graph", 1),
    "xla, horizon of 1": functools.partial(trainer, "xla", 1),
    "graph, horizon of 3": functools.partial(trainer, "graph", 3),
    "graph, a curriculum": curriculum,
}


def work(name, directory):
    """What is killed: resumes if it can, and trains on."""
    trainer = TRAININGS[name](checkpoint_dir=directory, checkpoint_every=0.02, resume=True)
    trainer.run(1)  # compiled
    print("training", flush=True)
    trainer.run(FOREVER)


def kill_once(name, directory, moments):
    """Starts the work, kills it, and reads all checkpoints that it left; returns the newest, or None."""
    command = [sys.executable, os.path.abspath(__file__), "--work", name, directory]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if moments.random() < 0.8:
        process.stdout.readline()
        time.sleep(moments.uniform(0, 1.5))
    else:  # while it starts, restores or compiles
        time.sleep(moments.uniform(0, 5))
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError("the work stopped by itself: %s" % errors.decode()[-2000:])
    names = [name for name in os.listdir(directory) if name.endswith(".npz")]
    found = {name: l2l.archives.read(os.path.join(directory, name))[1] for name in names}  # none may be unreadable
    return found[max(found)] if found else None


def identical(name, checkpoints):
    """For each checkpoint, in the order of their lengths, whether an undisturbed trainer has the same there."""
    trainer, results = TRAININGS[name](), []
    for arrays in checkpoints:
        if arrays is None:  # killed before there was one: nothing may have been trained
            results.append(len(trainer.history) == 0)
            continue
        number = len(arrays["history/meta_loss"])
        if number > len(trainer.history):  # otherwise, if something was lost, the lengths will differ
            trainer.run(number - len(trainer.history))
        expected = trainer.snapshot()
        for column in ["meta_loss", "last_loss", "gradient_norm"]:
            expected["history/" + column] = getattr(trainer.history, column)
        results.append(
            len(trainer.history) == number
            and {*arrays} == {*expected, "history/seconds"}
            and all(np.array_equal(arrays[name], expected[name]) for name in expected)
        )
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", nargs=2, metavar=("NAME", "DIRECTORY"))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.work:
        work(*arguments.work)
        return
    moments, results = random.Random(arguments.seed), []
    # Two kills at least for each training that is killed at all: the second meets one that was restored.
    trainings = list(TRAININGS)[: max(1, min(len(TRAININGS), arguments.kills // 2))]
    for i, name in enumerate(trainings):
        kills = len(range(i, arguments.kills, len(trainings)))
        with tempfile.TemporaryDirectory() as directory:
            checkpoints = [kill_once(name, directory, moments) for _ in tqdm(range(kills), desc="kills, " + name)]
        lengths = [0 if arrays is None else len(arrays["history/meta_loss"]) for arrays in checkpoints]
        print("%s: checkpoints at %s" % (name, ", ".join(map(str, lengths))))
        if len(set(lengths)) <= kills // 2:
            sys.exit("%s: too little was trained between the kills" % name)
        results += identical(name, checkpoints)
    print("%d of %d identical, no checkpoint unreadable" % (sum(results), len(results)))
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
