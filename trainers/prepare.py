"""Prepares raw logs: `python trainers/prepare.py LOG --user U --item I --time T --out DIR`.

All logic is in `tf_fenrec.cli.prepare`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_fenrec.cli.prepare import main

if __name__ == "__main__":
    sys.exit(main())
