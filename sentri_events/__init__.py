"""sentri-events: what happens in a test run, stored, numbered and watched live.

Imports nothing: the pytest plugin lives here and is loaded into every test run of whoever installed the package.
"""

__version__ = "0.1.0"
