"""GitHub: the comments of a pull request, by the token and the event of an Actions job.

In: the environment of a step (GITHUB_TOKEN, GITHUB_REPOSITORY, GITHUB_EVENT_PATH …). Out: the `Forge` of the pull
request, or the reason why there is none. Comments of a pull request are those of the issue of its number. Who the token
is, is asked of GraphQL, which answers the installation tokens of Actions too; REST's /user does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from cineloop.documents import read_json
from cineloop.errors import MissingDependencyError, UsageError
from v2t_eval.forges.api import Api, check_service
from v2t_eval.forges.comment import Remark

_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")
_VIEWER = {"query": "query { viewer { login } }"}


class Forge:
    """The pull request of this job.

    Args:
        environ: of the step. number: of the pull request; None takes it from the event.

    Raises:
        MissingDependencyError: FORGE_NO_REQUEST, FORGE_TOKEN, or FORGE_FORK: a run for a fork, whose token only reads.
        UsageError, PolicyError: a variable that holds no repository or address.
    """

    def __init__(self, environ: Mapping[str, str], number: int | None = None) -> None:
        repository = environ.get("GITHUB_REPOSITORY", "")
        if not _REPOSITORY.fullmatch(repository):
            raise UsageError(f"GITHUB_REPOSITORY must be owner/name, got {repository[:80]!r}")
        event = _event(environ)
        asked = number or _number(event)
        if asked is None:
            raise MissingDependencyError(
                f"this run ({environ.get('GITHUB_EVENT_NAME') or 'no event'}) belongs to no pull request",
                code="FORGE_NO_REQUEST",
                hint="--number N names one",
            )
        self.place = f"pull request #{asked} of {repository}"
        if number is None and environ.get("GITHUB_EVENT_NAME") == "pull_request" and _is_fork(event, repository):
            raise MissingDependencyError(
                f"{self.place} comes from a fork, and the token of such a run only reads", code="FORGE_FORK"
            )
        token = environ.get("GITHUB_TOKEN", "").strip()
        if not token.isascii() or not token.isprintable() or " " in token or not token:
            raise MissingDependencyError(
                "the environment variable GITHUB_TOKEN holds no token", code="FORGE_TOKEN",
                hint="env: {GITHUB_TOKEN: ${{ github.token }}} of the step",
            )  # fmt: skip
        self._repository, self._number = repository, asked
        self._graphql = environ.get("GITHUB_GRAPHQL_URL") or "https://api.github.com/graphql"
        check_service(self._graphql)
        self._api = Api(
            environ.get("GITHUB_API_URL") or "https://api.github.com", token=token,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json",
                     "X-GitHub-Api-Version": "2022-11-28"},
        )  # fmt: skip
        self.run_url = run_url(environ)

    def remarks(self) -> Iterator[Remark]:
        for row in self._api.listing(f"/repos/{self._repository}/issues/{self._number}/comments"):
            yield self._remark(row)

    def create(self, body: str) -> Remark:
        return self._remark(
            self._api.send("POST", f"/repos/{self._repository}/issues/{self._number}/comments", {"body": body})
        )

    def update(self, id: int, body: str) -> Remark:
        return self._remark(self._api.send("PATCH", f"/repos/{self._repository}/issues/comments/{id}", {"body": body}))

    def delete(self, id: int) -> None:
        self._api.delete(f"/repos/{self._repository}/issues/comments/{id}")

    @cached_property
    def _login(self) -> str:
        tree = self._api.send("POST", self._graphql, _VIEWER)
        data = tree.get("data") if isinstance(tree, dict) else None
        viewer = data.get("viewer") if isinstance(data, dict) else None
        login = viewer.get("login") if isinstance(viewer, dict) else None
        if not isinstance(login, str) or not login:
            raise MissingDependencyError(f"{self._graphql} does not say who the token is", code="FORGE_REPLY")
        return login

    def _remark(self, row: Any) -> Remark:
        user = (row.get("user") or {}) if isinstance(row, dict) else {}
        if not isinstance(row, dict) or not isinstance(row.get("id"), int):
            raise MissingDependencyError("GitHub sent a comment without an id", code="FORGE_REPLY")
        url = row.get("html_url")
        return Remark(
            id=row["id"], body=str(row.get("body") or ""), is_ours=user.get("login") == self._login,
            url=url if isinstance(url, str) else "",
        )  # fmt: skip


def run_url(environ: Mapping[str, str]) -> str:
    """The page of this run; "" outside of one."""
    server, repository, run = (environ.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
    return f"{server}/{repository}/actions/runs/{run}" if server and repository and run.isdecimal() else ""


def _event(environ: Mapping[str, str]) -> dict[str, Any]:
    try:
        tree = read_json(Path(environ["GITHUB_EVENT_PATH"]), finite=False)
    except (KeyError, OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _number(event: Mapping[str, Any]) -> int | None:
    """Of `pull_request`, of a comment on a pull request, or of a run that followed one."""
    issue = event.get("issue") or {}
    runs = (event.get("workflow_run") or {}).get("pull_requests") or []
    places = [event.get("pull_request"), issue if issue.get("pull_request") else None, *runs[:1]]
    return next((place["number"] for place in places if place and isinstance(place.get("number"), int)), None)


def _is_fork(event: Mapping[str, Any], repository: str) -> bool:
    head = (event.get("pull_request") or {}).get("head") or {}
    return bool(head) and (head.get("repo") or {}).get("full_name") != repository  # a deleted fork is null
