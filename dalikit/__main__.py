"""`python -m dalikit`."""

import sys

from dalikit.cli import main

sys.exit(main())
