"""What things cost: profiles of layers, links and all-reduces, and what follows for stages and actions."""
