"""How fast it is, beside what a user could pick instead: peers, workloads, and two load programs in C."""
