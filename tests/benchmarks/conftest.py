"""The scripts of benchmarks/ as modules: they are run from their folder, and import each other by bare names."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
