"""The ground floor: what more than one process of the system shares. It imports no other package of ours, and no torch."""
