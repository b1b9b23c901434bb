"""Say which models of a library can be traced, exported and placed on an NPU, and why the others cannot."""
