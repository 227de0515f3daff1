"""``python -m deeppsma``."""

import sys

from deeppsma.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
