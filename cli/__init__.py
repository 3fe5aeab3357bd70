"""The commands: one file each, of arguments and printing only; no other room knows them."""
