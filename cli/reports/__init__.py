"""What subcommands print: tables, explanations, progress."""
