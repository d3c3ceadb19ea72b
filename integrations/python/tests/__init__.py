"""Run by ``python3 -m unittest discover -s integrations/python -t integrations/python``."""

import pathlib
import sys

# The stand-in for the platform's package.
STANDIN = str(pathlib.Path(__file__).resolve().parents[3] / "tests" / "standin")
sys.path.insert(0, STANDIN)
