"""The options that several subcommands share, a file a group, and what is made of them."""
