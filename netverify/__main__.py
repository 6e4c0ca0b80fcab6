"""`python -m netverify`."""

from __future__ import annotations

import sys

from netverify.cli import main

sys.exit(main())
