"""Blends runs: `python trainers/blend.py --runs A B --run DIR`. All logic is in `tf_fenrec.cli.blend`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_fenrec.cli.blend import main

if __name__ == "__main__":
    sys.exit(main())
