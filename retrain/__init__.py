"""From accepted corrections to a better model in production, and back."""
