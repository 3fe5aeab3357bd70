"""Where an extraction computes: in this process, or on the machines of a Ray cluster."""
