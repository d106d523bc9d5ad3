"""What every other package builds on: it imports none of them."""
