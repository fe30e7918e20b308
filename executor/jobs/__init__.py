"""One job of ranks: what it is made of, how it is prepared, what it writes down."""
