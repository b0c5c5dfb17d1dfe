"""``python -m tests.benchmarks`` is ``neurograph bench``, from a checkout."""

import sys

from neurograph.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
