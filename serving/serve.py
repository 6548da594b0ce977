"""Serves models over gRPC: `python serving/serve.py --models MODELS`. All logic is in `tf_fenrec.cli.serve`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_fenrec.cli.serve import main

if __name__ == "__main__":
    sys.exit(main())
