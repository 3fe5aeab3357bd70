"""The sections of the report, one file each; `order` puts them together."""
