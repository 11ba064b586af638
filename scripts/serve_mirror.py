#!/usr/bin/env python3
"""Serve one folder as a model repository of a hub's plain mirror: one that knows neither HEAD nor revisions.

Usage: scripts/serve_mirror.py --port PORT FOLDER

Any `org/name` stands for the folder. The listing is at `/api/models/org/name`, the files are at
`/org/name/resolve/REVISION/FILE`, whole or a range of them, with an ETag as the hub has it: the hash of a git blob. It
listens on this machine alone, until it is ended.
"""

import argparse
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Mirror(BaseHTTPRequestHandler):
    """Answers for the folder that the server holds."""

    def do_HEAD(self):  # noqa: N802, the base class names it
        self.answer(405, b"")

    def do_GET(self):  # noqa: N802
        files = {path.name: path for path in sorted(self.server.folder.iterdir()) if path.is_file()}
        path = self.path.split("?")[0]
        file = re.fullmatch(r"/[^/]+/[^/]+/resolve/[^/]+/([^/]+)", path)
        if re.fullmatch(r"/api/models/[^/]+/[^/]+", path):
            listing = {"sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
            self.answer(200, json.dumps(listing).encode())
        elif file and file[1] in files:
            self.send_file(files[file[1]].read_bytes())
        else:
            self.answer(404, b"not found")

    def send_file(self, content):
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        headers = {"ETag": f'"{blob}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            self.answer(200, content, headers)
            return
        first = int(wanted[1])
        last = min(int(wanted[2] or len(content)), len(content) - 1)
        if first > last:
            self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self.answer(206, content[first : last + 1], headers)

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", args.port), Mirror)
    server.folder = args.folder
    server.serve_forever()


if __name__ == "__main__":
    main()
