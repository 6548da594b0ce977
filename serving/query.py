"""Asks a server: `python serving/query.py --history "a,b,c" --k 10`. All logic is in `tf_fenrec.cli.query`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_fenrec.cli.query import main

if __name__ == "__main__":
    sys.exit(main())
