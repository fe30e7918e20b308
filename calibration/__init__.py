"""Short real runs become a cost profile; predicted against measured becomes a verdict."""
