"""Memory and disk over a million meta-iterations of the compiled engine with checkpoints: about two minutes.

    .venv/bin/python benchmarks/memory.py

Writes results/memory.json, a row for each 100,000 meta-iterations. The memory of the history, 32 bytes a
meta-iteration, is taken at the start, so that what grows later is something else.
"""

import json
import os
import tempfile
from pathlib import Path

import psutil

import l2l

ROOT = Path(__file__).resolve().parent.parent
MILLION = 1_000_000


def main():
    rows, process = [], psutil.Process()
    with tempfile.TemporaryDirectory() as directory:
        trainer = l2l.Trainer(
            l2l.Quadratic(2), l2l.CoordinatewiseLSTM, name="a million", checkpoint_dir=directory, checkpoint_every=5
        )
        trainer.history.reserve(MILLION)
        while len(trainer.history) < MILLION:
            trainer.run(MILLION // 10)
            rows.append(
                {
                    "meta_iterations": len(trainer.history),
                    "resident_mib": process.memory_info().rss / 2**20,
                    "checkpoints": len(os.listdir(directory)) - 1,  # without the lock
                    "disk_mib": sum(file.stat().st_size for file in os.scandir(directory)) / 2**20,
                }
            )
        trainer.close()
    ratio = rows[-1]["resident_mib"] / rows[0]["resident_mib"]
    results = {"rows": rows, "last_over_first": ratio, **l2l.measured_with()}
    (ROOT / "results" / "memory.json").write_text(json.dumps(results, indent=1) + "\n")
    columns = {"meta_iterations": ",d", "resident_mib": ".1f", "checkpoints": "d", "disk_mib": ".1f"}
    print(l2l.format_table(rows, columns))
    print("last over first %.3f" % ratio)


if __name__ == "__main__":
    main()
