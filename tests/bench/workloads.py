"""All workloads, in the order in which they are measured."""

from tests.bench.fan_out import W1, W2, W3, W9B
from tests.bench.idle import W5, W9
from tests.bench.ingest import W6
from tests.bench.opening import W11
from tests.bench.relay import W7
from tests.bench.size import W10
from tests.bench.slow import W4
from tests.bench.smooth import W12, W13
from tests.bench.stalled import W14
from tests.bench.storm import W8

WORKLOADS = (W1, W2, *W3, W4, W5, W6, *W7, W8, W9, *W9B, W10, W11, W12, W13, W14)
