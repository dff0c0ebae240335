"""`python -m haidang_collector` is `haidang-collector`."""

import sys

from haidang_collector.cli.main import main

sys.exit(main())
