"""``python -m paleo_opt``."""

import sys

from paleo_opt.cli.main import main

sys.exit(main())
