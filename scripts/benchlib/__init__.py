"""What `scripts/bench` and `scripts/bench-link` share."""
