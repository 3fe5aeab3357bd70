"""A hub of models on the loopback interface, as far as huggingface_hub talks to one to download."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Repo:
    """Files by revision, and how the hub behaves when asked for them.

    `mode` is "open", "gated", "error" (500), "hang" (no answer), "files hang" (it tells what it has, and gives
    nothing), "weights hang" (it gives all but the weights) or "weights stall" (their first bytes, and no more).
    """

    revisions: dict[str, dict[str, bytes]]
    mode: str = "open"

    def commit(self, revision: str) -> str | None:
        """Commit that a revision stands for."""
        commits = {name: _commit(files) for name, files in self.revisions.items()}
        return revision if revision in commits.values() else commits.get(revision)

    def files(self, commit: str) -> dict[str, bytes]:
        """Files of a commit."""
        return next(files for files in self.revisions.values() if _commit(files) == commit)


@dataclass
class Hub:
    """What is served, and what was asked for: method and path."""

    repos: dict[str, Repo] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    def add(self, name: str, mode: str = "open", **folders: Path) -> None:
        """Serve folders as revisions: ``main=…``, ``pr=…`` (the converter's pull request), ``next=…`` (main to be)."""
        names = {"main": "main", "pr": "refs/pr/1", "next": "next"}
        self.repos[name] = Repo(
            {names[key]: {f.name: f.read_bytes() for f in folder.iterdir()} for key, folder in folders.items()}, mode
        )


@contextmanager
def serving():
    """Run a :class:`Hub`.

    ``GET /-/mode/MODE/OWNER/NAME`` changes a repository, ``/-/move/OWNER/NAME`` lets its main be what ``next`` is,
    ``/-/close`` stops listening; these and ``/-/requests`` answer
    with what was asked since the last of them.
    """
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self._answer()

        def do_GET(self):
            self._answer()

        def do_POST(self):
            self._answer()

        def log_message(self, *args):
            return None

        def _answer(self):
            path = urlsplit(self.path).path
            if path.startswith("/-/"):
                return self._control([unquote(part) for part in path.split("/")[2:]])
            hub.requests.append((self.command, unquote(path)))
            parts = path.strip("/").split("/")
            if parts[:2] == ["api", "models"] and len(parts) >= 4:
                name, rest = "/".join(parts[2:4]), parts[4:]
                revision = unquote(rest[1]) if rest[:1] == ["revision"] else "main"
                return self._of(name, revision, None)
            if len(parts) >= 5 and parts[2] == "resolve":
                return self._of("/".join(parts[:2]), unquote(parts[3]), "/".join(parts[4:]))
            return self._send(404)

        def _of(self, name, revision, file):
            repo = hub.repos.get(name)
            if repo is None:
                return self._send(404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
            part = "weights" if file is not None and file.endswith((".safetensors", ".bin")) else "files"
            if repo.mode == "hang" or (file is not None and repo.mode in ("files hang", f"{part} hang")):
                return hub.ended.wait()
            if repo.mode == "error":
                return self._send(500, body=b"the hub is on fire")
            commit = repo.commit(revision)
            if commit is None:
                return self._send(404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
            if file is None:
                siblings = [{"rfilename": each} for each in repo.files(commit)]
                about = {"id": name, "modelId": name, "sha": commit, "siblings": siblings, "private": False, "tags": []}
                return self._send(200, body=json.dumps(about).encode())
            if repo.mode == "gated":
                return self._send(401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
            content = repo.files(commit).get(file)
            if content is None:
                return self._send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            stalls = repo.mode == "weights stall" and part == "weights" and self.command == "GET"
            return self._send(200, {"X-Repo-Commit": commit, "ETag": etag}, content, stalls=stalls)

        def _control(self, words):
            if words[0] == "mode":
                hub.repos["/".join(words[2:])].mode = words[1]
            if words[0] == "move":
                revisions = hub.repos["/".join(words[1:])].revisions
                revisions["main"] = revisions.pop("next")
            if words[0] == "close":
                server.shutdown()
                server.server_close()
            asked, hub.requests[:] = list(hub.requests), []
            return self._send(200, body=json.dumps(asked).encode())

        def _send(self, status, headers=None, body=b"", *, stalls=False):
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[:1000] if stalls else body)
            if stalls:
                self.wfile.flush()
                hub.ended.wait()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.ended.set()
        server.shutdown()
        server.server_close()


def _commit(files: dict[str, bytes]) -> str:
    digest = hashlib.sha1()
    for name, content in sorted(files.items()):
        digest.update(f"{name} {len(content)}".encode() + content)
    return digest.hexdigest()
