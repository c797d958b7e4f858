"""`python -m kd_experiments`."""

import sys

from kd_experiments.cli import main

if __name__ == "__main__":
    sys.exit(main())
