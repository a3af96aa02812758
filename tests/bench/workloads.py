"""All workloads, in the order in which they are measured."""

from tests.bench.fan_out import W1, W2, W3, W9B
from tests.bench.idle import W5, W9
from tests.bench.ingest import W6

WORKLOADS = (W1, W2, *W3, W5, W6, W9, *W9B)
