"""A rank's life: started, met, watched over and ended, whatever happens."""
