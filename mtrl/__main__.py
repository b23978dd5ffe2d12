"""`python -m mtrl`: the same program as the `mtrl` console script."""

import sys

from mtrl.cli import main

sys.exit(main())
