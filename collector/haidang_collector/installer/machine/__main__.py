"""What install.sh runs: an installation on Linux."""

from __future__ import annotations

import sys

from . import linux
from .install import main

sys.exit(main(linux))
