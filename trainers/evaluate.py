"""Evaluates a run: `python trainers/evaluate.py --run DIR --split test`. All logic is in `tf_fenrec.cli.evaluate`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_fenrec.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
