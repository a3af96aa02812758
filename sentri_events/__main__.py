"""`python -m sentri_events` is `sentri-events`."""

import sys

from sentri_events.cli import main

sys.exit(main())
