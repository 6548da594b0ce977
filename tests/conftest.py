"""Options shared by all tests: where the benchmark data and the golden vectors lie, when they are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
