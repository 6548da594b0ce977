"""Trains a model: `python trainers/train.py --dataset sports`. All logic is in `tf_fenrec.cli.train`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_fenrec.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
