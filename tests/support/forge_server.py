"""Stand-ins for the comments of GitHub and the notes of GitLab, with what clients trip over: pages, rate limits, other
authors, refusals, connections that break after the work is done."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TOKEN = "ghs_secret0123456789"
ME = {"github": {"login": "github-actions[bot]", "id": 41898282}, "gitlab": {"username": "project_7_bot", "id": 99}}
OTHER = {"github": {"login": "coverage[bot]", "id": 5}, "gitlab": {"username": "dana", "id": 12}}


class ForgeServer(ThreadingHTTPServer):
    """One pull request of one forge.

    Attributes:
        comments: what there is, oldest first: id, body, author.
        calls: method and path of every request, in order.
        answers: for the next requests that match `METHOD path-pattern`: what is answered instead of the usual, a status
            with headers and a message, or "drop" after the work was done.
        before: called with (method, path) before a request is answered.
    """

    daemon_threads = True

    def __init__(self, kind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kind = kind
        self.comments: list[dict] = []
        self.calls: list[str] = []
        self.answers: list[tuple[str, object]] = []
        self.tokens: set[str] = set()
        self.bodies: list[dict] = []
        self.lock = threading.RLock()
        self.before = lambda method, path: None
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{'/api/v4' if self.kind == 'gitlab' else ''}"

    def add(self, body: str, *, mine: bool = False, **more) -> dict:
        with self.lock:
            author = (ME if mine else OTHER)[self.kind]
            name = "user" if self.kind == "github" else "author"
            made = {"id": 1000 + len(self.comments) * 7, "body": body, name: author, **more}
            if self.kind == "github":
                made["html_url"] = f"https://github.test/o/r/pull/5#issuecomment-{made['id']}"
            else:
                made.setdefault("system", False)
            self.comments.append(made)
            return made

    def ours(self, marker: str) -> list[dict]:
        name = "user" if self.kind == "github" else "author"
        return [c for c in self.comments if c[name] == ME[self.kind] and c["body"].startswith(marker)]

    def count(self, method: str) -> int:
        """Of the requests that write: those of a method, without the question who the token is."""
        return sum(call.startswith(f"{method} ") and "/graphql" not in call for call in self.calls)

    def environ(self, tmp_path, **more) -> dict[str, str]:
        """The variables of a job for this pull request."""
        if self.kind == "gitlab":
            return {"GITLAB_CI": "true", "CI_API_V4_URL": self.url, "CI_PROJECT_ID": "3", "CI_MERGE_REQUEST_IID": "5",
                    "CI_MERGE_REQUEST_PROJECT_ID": "7", "CI_JOB_URL": "https://gitlab.test/g/p/-/jobs/88",
                    "CI_MERGE_REQUEST_PROJECT_URL": "https://gitlab.test/g/p", "GITLAB_TOKEN": TOKEN,
                    **more}  # fmt: skip
        event = tmp_path / "event.json"
        event.write_text(json.dumps({"pull_request": {"number": 5, "head": {"repo": {"full_name": "o/r"}}}}))
        return {"GITHUB_ACTIONS": "true", "GITHUB_API_URL": self.url, "GITHUB_GRAPHQL_URL": f"{self.url}/graphql",
                "GITHUB_REPOSITORY": "o/r", "GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(event),
                "GITHUB_SERVER_URL": "https://github.test", "GITHUB_RUN_ID": "77", "GITHUB_TOKEN": TOKEN,
                "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "GITHUB_OUTPUT": str(tmp_path / "output"),
                **more}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ForgeServer

    def log_message(self, *args) -> None:
        pass

    def _do(self) -> None:
        server = self.server
        path = urlsplit(self.path).path
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        server.before(self.command, path)
        with server.lock:
            server.calls.append(f"{self.command} {self.path}")
            server.tokens.add(self.headers.get("Authorization") or self.headers.get("PRIVATE-TOKEN") or "")
            wanted = f"{self.command} {path}"
            planted = next((one for one in server.answers if re.search(one[0], wanted)), None)
            if planted:
                server.answers.remove(planted)
                if planted[1] != "drop":
                    status, headers, message = planted[1]
                    return self._send(status, {"message": message}, headers)
            status, value, headers = self._answer(path, parse_qs(urlsplit(self.path).query), body)
            if planted:  # the work is done, and nobody hears of it
                self.close_connection = True
                self.connection.close()
                return
        self._send(status, value, headers)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _do

    def _answer(self, path: str, query: dict, body: dict):
        server = self.server
        is_github = server.kind == "github"
        listing = "/repos/o/r/issues/5/comments" if is_github else "/api/v4/projects/7/merge_requests/5/notes"
        single = r"/repos/o/r/issues/comments/(\d+)" if is_github else rf"{listing}/(\d+)"
        if path in ("/graphql", "/api/v4/user"):
            return 200, {"data": {"viewer": {"login": ME["github"]["login"]}}} if is_github else ME["gitlab"], {}
        if path == listing and self.command == "GET":
            size, page = int(query["per_page"][0]), int(query["page"][0])
            rows = server.comments[(page - 1) * size : page * size]
            more = page * size < len(server.comments)
            return 200, rows, {"Link": f'<{server.url}{path}?page={page + 1}>; rel="next"'} if more else {}
        if path == listing and self.command == "POST":
            server.bodies.append(body)
            if len(body["body"]) > 65_536 and is_github:
                return 422, {"message": "Validation Failed: body is too long (maximum is 65536 characters)"}, {}
            return 201, server.add(body["body"], mine=True), {}
        match = re.fullmatch(single, path)
        row = next((c for c in server.comments if match and c["id"] == int(match[1])), None)
        if row is None:
            return 404, {"message": "Not Found"}, {}
        if self.command == "DELETE":
            server.comments.remove(row)
            return 204, None, {}
        if self.command == ("PATCH" if is_github else "PUT"):
            server.bodies.append(body)
            if row not in server.ours(""):
                return 403, {"message": "Must have admin rights to Repository."}, {}
            row["body"] = body["body"]
            return 200, row, {}
        return 404, {"message": "Not Found"}, {}

    def _send(self, status: int, value: object, headers: dict) -> None:
        data = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)
