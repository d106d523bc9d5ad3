"""What only long runs show. Run by `make soak`."""
