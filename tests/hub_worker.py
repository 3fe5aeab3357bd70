"""Loads what it is told from the hub of the environment, and prints what came of it, one JSON object a line.

Run as ``python tests/hub_worker.py`` with a list of tasks as JSON on the standard input: ``["load", LOADER, NAME,
REVISION]``, or ``["ask", PATH]`` for the test hub's own controls.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import urllib.request
import warnings
from urllib.parse import quote

elsewhere: list[str] = []


def _watch() -> None:
    """Note, and refuse, whatever goes to another machine."""
    look_up, connect = socket.getaddrinfo, socket.socket.connect

    def only_here(host, *args, **kwargs):
        if host not in ("127.0.0.1", "localhost"):
            elsewhere.append(str(host))
            raise socket.gaierror(socket.EAI_NONAME, "no other machine in this test")
        return look_up(host, *args, **kwargs)

    def connect_here(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):
            elsewhere.append(str(address))
            raise OSError("no other machine in this test")
        return connect(self, address)

    socket.getaddrinfo, socket.socket.connect = only_here, connect_here


def _load(kind: str, name: str, revision: str | None) -> dict:
    from emoprobe.errors import Note, UserError
    from emoprobe.extract.encoders.speech import load_backbone
    from emoprobe.extract.encoders.text import load_text_encoder
    from emoprobe.transcribe.recognisers import load_recogniser

    load = {"speech": load_backbone, "text": load_text_encoder, "recogniser": load_recogniser}[kind]
    began = time.monotonic()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            model = load(name, revision=revision)
        except UserError as error:
            result = {"error": str(error)}
        else:
            about = {"weights_sha256": model.weights_sha256, "label": model.label} if kind == "recogniser" else None
            result = {"provenance": about or model.provenance()}
    return result | {
        "seconds": time.monotonic() - began,
        "said": [str(each.message) for each in said if issubclass(each.category, Note)],
    }


def main() -> None:
    """Do the tasks in order."""
    _watch()
    for task, *rest in json.load(sys.stdin):
        if task == "ask":
            with urllib.request.urlopen(f"{os.environ['HF_ENDPOINT']}/-/{quote(rest[0])}") as answer:
                result = {"requests": json.load(answer)}
        else:
            result = _load(*rest)
        print(json.dumps(result | {"elsewhere": elsewhere}), flush=True)


if __name__ == "__main__":
    main()
