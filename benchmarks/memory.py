"""Resident memory over a million meta-iterations of the compiled engine: about two minutes.

    .venv/bin/python benchmarks/memory.py

Writes results/memory.json, a row for each 100,000 meta-iterations. The history grows by 32 bytes a meta-iteration.
"""

import json
from pathlib import Path

import psutil

import l2l

ROOT = Path(__file__).resolve().parent.parent


def main():
    trainer = l2l.Trainer(l2l.Quadratic(2), l2l.CoordinatewiseLSTM, name="a million")
    process, rows = psutil.Process(), []
    for _ in range(10):
        history = trainer.run(100_000)
        rows.append({"meta_iterations": len(history), "resident_mib": process.memory_info().rss / 2**20})
    first, last = rows[0]["resident_mib"], rows[-1]["resident_mib"]
    results = {"rows": rows, "last_over_first": last / first, **l2l.measured_with()}
    (ROOT / "results" / "memory.json").write_text(json.dumps(results, indent=1) + "\n")
    print(l2l.format_table(rows, {"meta_iterations": ",d", "resident_mib": ".1f"}))


if __name__ == "__main__":
    main()
