"""GitLab: the notes of a merge request, by a token and the predefined variables of a job.

In: the environment of a job (GITLAB_TOKEN, CI_API_V4_URL, CI_MERGE_REQUEST_IID …). Out: the `Forge` of the merge
request, or the reason why there is none. CI_JOB_TOKEN may not write notes: GITLAB_TOKEN is a project's access token of
scope `api`, in a masked variable. A line of a note that begins with a slash is a command (`/merge`), so none does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from cineloop.errors import MissingDependencyError
from v2t_eval.forges.api import Api
from v2t_eval.forges.comment import Remark

_COMMAND = re.compile(r"^(\s*)/", re.MULTILINE)


class Forge:
    """The merge request of this job.

    Args:
        environ: of the job. number: the merge request's own in its project (IID); None takes the job's.

    Raises:
        MissingDependencyError: FORGE_NO_REQUEST, FORGE_TOKEN. PolicyError: an address that may not be used.
    """

    def __init__(self, environ: Mapping[str, str], number: int | None = None) -> None:
        project = environ.get("CI_MERGE_REQUEST_PROJECT_ID") or environ.get("CI_PROJECT_ID") or ""
        iid = str(number or environ.get("CI_MERGE_REQUEST_IID") or "")
        if not project.isdecimal() or not iid.isdecimal():
            raise MissingDependencyError(
                "this job belongs to no merge request", code="FORGE_NO_REQUEST",
                hint='rules: [{if: $CI_PIPELINE_SOURCE == "merge_request_event"}], or --number N',
            )  # fmt: skip
        self.place = f"merge request !{iid} of project {project}"
        token = environ.get("GITLAB_TOKEN", "").strip()
        if not token.isascii() or not token.isprintable() or " " in token or not token:
            raise MissingDependencyError(
                "the variable GITLAB_TOKEN holds no token; jobs of forks have none", code="FORGE_TOKEN",
                hint="a project's access token of scope api, as a masked variable",
            )  # fmt: skip
        self._notes = f"/projects/{project}/merge_requests/{iid}/notes"
        url = environ.get("CI_API_V4_URL") or "https://gitlab.com/api/v4"
        self._api = Api(url, token=token, headers={"PRIVATE-TOKEN": token})
        page = environ.get("CI_MERGE_REQUEST_PROJECT_URL", "")
        self._page = f"{page}/-/merge_requests/{iid}" if page else ""
        self.run_url = run_url(environ)

    def remarks(self) -> Iterator[Remark]:
        for row in self._api.listing(f"{self._notes}?order_by=created_at&sort=asc"):
            yield self._remark(row)

    def create(self, body: str) -> Remark:
        return self._remark(self._api.send("POST", self._notes, {"body": _COMMAND.sub(r"\1&#47;", body)}))

    def update(self, id: int, body: str) -> Remark:
        return self._remark(self._api.send("PUT", f"{self._notes}/{id}", {"body": _COMMAND.sub(r"\1&#47;", body)}))

    def delete(self, id: int) -> None:
        self._api.delete(f"{self._notes}/{id}")

    @cached_property
    def _user(self) -> int:
        tree = self._api.get("/user")
        if not isinstance(tree, dict) or not isinstance(tree.get("id"), int):
            raise MissingDependencyError("GitLab does not say who the token is", code="FORGE_REPLY")
        return int(tree["id"])

    def _remark(self, row: Any) -> Remark:
        if not isinstance(row, dict) or not isinstance(row.get("id"), int):
            raise MissingDependencyError("GitLab sent a note without an id", code="FORGE_REPLY")
        author = row.get("author") or {}
        return Remark(
            id=row["id"], body=str(row.get("body") or ""), is_ours=author.get("id") == self._user,
            url=f"{self._page}#note_{row['id']}" if self._page else "",
        )  # fmt: skip


def run_url(environ: Mapping[str, str]) -> str:
    """The page of this job; "" outside of one."""
    return environ.get("CI_JOB_URL", "")
