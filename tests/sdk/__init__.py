"""Spans and histograms beside the SDK's own: equal to the byte, with every SDK that is allowed and with the next."""
