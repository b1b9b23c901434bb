"""`python -m model_zoo` is `model-zoo`."""

import sys

from model_zoo.cli import main

sys.exit(main())
