"""Orders that are searched for, given what things cost."""
