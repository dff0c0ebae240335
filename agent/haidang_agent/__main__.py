"""`python -m haidang_agent` is `haidang-agent`."""

import sys

from haidang_agent.cli import main

sys.exit(main())
