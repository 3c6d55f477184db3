"""`python -m raystudy` is `raystudy`."""

import sys

from raystudy.cli import main

sys.exit(main())
