"""Exports a run: `python export/export.py --run DIR --to MODELS`. All logic is in `tf_fenrec.cli.export`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_fenrec.cli.export import main

if __name__ == "__main__":
    sys.exit(main())
