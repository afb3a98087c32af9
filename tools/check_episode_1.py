"""Fails where a run of Episode 1 is far from the document: python tools/check_episode_1.py FILE.json"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "notebooks"))

import episode_1

if __name__ == "__main__":
    rows = json.loads(Path(sys.argv[1]).read_text())["rows"]
    sys.exit("\n".join(episode_1.complaints(rows)) or None)
