"""An extraction on a cluster as a process of its own, which a test may kill: MANIFEST MODEL OUT ADDRESS."""

from __future__ import annotations

import sys

from emoprobe.cli.extract import main

if __name__ == "__main__":
    manifest, model, out, address = sys.argv[1:]
    given = ["--corpus", manifest, "--model", model, "--out", out, "--batch-seconds", "2", "--workers", "1"]
    raise SystemExit(main([*given, "--device", "cpu", "--engine", "ray", "--address", address]))
