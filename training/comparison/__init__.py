"""Several losses, trained from the same seeds and compared pair by pair."""
