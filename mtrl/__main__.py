"""`python -m mtrl` runs the `mtrl` command."""

import sys

from mtrl.cli import main

sys.exit(main())
