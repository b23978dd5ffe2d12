"""The command `python -m record`."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # numpy reads it when it is imported

from .runner import main

sys.exit(main())
