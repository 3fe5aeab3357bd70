"""The kinds of probe, one file each: `base` says what a probe is, `registry` names them all."""
