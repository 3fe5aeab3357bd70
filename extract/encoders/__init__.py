"""Pretrained encoders of speech and of text: how they are found and loaded, and their states whatever the batch."""
