"""The review desk: what goes to people, what comes back, and how the two sides stay one."""
