"""Who finds out when everything happens: the reference, the direct, the compiled and the large engine."""
