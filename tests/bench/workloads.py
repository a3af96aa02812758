"""All workloads, in the order in which they are measured."""

from tests.bench.fan_out import W1, W2, W3

WORKLOADS = (W1, W2, *W3)
