"""Does a schedule for real: interprets its plan on torch.distributed, one process a rank."""
