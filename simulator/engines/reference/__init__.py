"""The reference engine: one plain SimPy process a device, and what devices share as SimPy resources and events."""
