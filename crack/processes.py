"""How processes end, in words."""

import signal


def how_it_ended(status: int) -> str:
    """For a sentence like "Java ended ...": `status` as subprocess gives it, where a negative number is a signal's."""
    return f"ended with status {status}" if status >= 0 else f"was ended by the signal {signal.Signals(-status).name}"
