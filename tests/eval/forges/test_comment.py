"""The one comment of a gate: written once, updated in place, never twice, whatever the forge does."""

from __future__ import annotations

import json
import threading

import pytest

from cineloop import cli
from forge_server import OTHER, TOKEN, ForgeServer
from v2t_eval.cli import VERBS
from v2t_eval.forges import api, github, gitlab
from v2t_eval.forges.comment import marker_of, post, text_of

MARKER = marker_of("gate")
ROOMS = {"github": github, "gitlab": gitlab}
UPDATE = {"github": "PATCH", "gitlab": "PUT"}


@pytest.fixture(params=["github", "gitlab"])
def server(request, monkeypatch):
    monkeypatch.setattr(api, "_PAUSE_S", 0.01)
    made = ForgeServer(request.param)
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def gate(tmp_path):
    """A folder as a gate leaves it."""
    folder = tmp_path / "gate-report"
    folder.mkdir()
    (folder / "gate.md").write_text("# Gate: PASS\n\n**Nothing got worse.**\n")
    return folder


@pytest.fixture
def comment(server, gate, tmp_path, monkeypatch, capsys):
    """`comment(*flags, **variables)`: exit code and printed object of `v2t-eval ci comment --json` in a job."""

    def run(*flags, **variables):
        for name, value in server.environ(tmp_path, **variables).items():
            monkeypatch.setenv(name, value)
        code = cli.main("v2t-eval", "", VERBS, ["ci", "comment", str(gate), "--json", *flags], package="v2t_eval")
        printed = capsys.readouterr()
        assert TOKEN not in printed.out + printed.err
        return code, json.loads(printed.out)

    return run


def fill(server, count=250):
    """What else is said on the pull request; more than two pages."""
    for n in range(count):
        server.add(f"comment {n}")


def test_the_second_run_updates_what_the_first_created(server, comment, gate):
    fill(server)
    code, first = comment()
    assert code == 0 and first["action"] == "created" and server.count("POST") == 1
    fill(server, 60)
    (gate / "gate.md").write_text("# Gate: FAIL\n")
    code, second = comment()
    assert code == 0 and second == {"action": "updated", "url": first["url"]}
    (ours,) = server.ours(MARKER)
    assert "FAIL" in ours["body"] and "PASS" not in ours["body"]
    assert server.count("POST") == 1 and server.count(UPDATE[server.kind]) == 1
    assert len(server.comments) == 311
    assert server.tokens == {f"Bearer {TOKEN}" if server.kind == "github" else TOKEN}


def test_comments_of_others_with_the_marker_are_left_alone(server, comment):
    theirs = [server.add(f"{MARKER}\nnot the gate's"), server.add(f"quoted {MARKER}", mine=True)]
    assert comment()[1]["action"] == "created"
    assert comment()[1]["action"] == "updated"
    assert len(server.comments) == 3 and [c["body"] for c in theirs] == [
        f"{MARKER}\nnot the gate's",
        f"quoted {MARKER}",
    ]


def test_gates_of_other_names_have_comments_of_their_own(server, comment):
    comment("--name", "fast")
    comment("--name", "fast-2")
    assert comment("--name", "fast")[1]["action"] == "updated"
    assert [c["body"].split("\n")[0] for c in server.comments] == [marker_of("fast"), marker_of("fast-2")]


def test_a_connection_that_breaks_after_the_comment_was_written_adds_no_second(server, comment):
    server.answers.append((r"POST .*/(comments|notes)$", "drop"))
    code, done = comment()
    assert code == 0 and done["action"] == "updated"
    assert len(server.ours(MARKER)) == 1


def test_two_runs_at_once_leave_one(server, comment, tmp_path, gate):
    """Both list before either writes: the barrier holds their first requests to write until both have come."""
    barrier, waits = threading.Barrier(2, timeout=20), [2]

    def hold(method, path):
        if method == "POST" and "graphql" not in path and waits[0] > 0:
            waits[0] -= 1
            barrier.wait()

    server.before = hold
    room, environ = ROOMS[server.kind], server.environ(tmp_path)
    made = []
    threads = [
        threading.Thread(target=lambda n=n: made.append(post(room.Forge(environ), "gate", f"run {n}"))) for n in (1, 2)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert len(made) == 2 and server.count("POST") == 2
    assert len(server.ours(MARKER)) == 1 and {one.action for one in made} >= {"created"}


def test_older_doubles_are_cleared(server, comment):
    for _ in range(3):
        server.add(f"{MARKER}\nold", mine=True)
    assert comment()[1]["action"] == "updated"
    assert len(server.ours(MARKER)) == 1 and server.comments[0]["body"].startswith(f"{MARKER}\n# Gate: PASS")


@pytest.mark.parametrize(
    "answer",
    [
        (429, {"Retry-After": "0.05"}, "slow down"),
        (403, {"Retry-After": "0.05"}, "You have exceeded a secondary rate limit"),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}, "API rate limit exceeded"),
        (429, {"ratelimit-reset": "1"}, "Retry later"),
        (502, {}, "bad gateway"),
        (503, {"Retry-After": "0.05"}, "maintenance"),
    ],
    ids=lambda answer: f"{answer[0]} {' '.join(answer[1])}",
)
@pytest.mark.parametrize("where", [r"GET .*(comments|notes)$", r"POST .*(comments|notes)$"], ids=["list", "write"])
def test_limits_and_failures_of_the_server_are_waited_for(server, comment, answer, where):
    server.answers.append((where, answer))
    code, done = comment()
    assert code == 0 and done["action"] == "created" and len(server.ours(MARKER)) == 1 and not server.answers


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((403, {}, "Resource not accessible by integration"), "FORGE_FORBIDDEN"),
        ((401, {}, "Bad credentials"), "FORGE_FORBIDDEN"),
        ((404, {}, "Not Found"), "FORGE_NOT_FOUND"),
        ((422, {}, f"Validation Failed for {TOKEN}"), "FORGE_REFUSED"),
        ((301, {"Location": "https://elsewhere.test/"}, "Moved Permanently"), "FORGE_REPLY"),
        ((429, {"Retry-After": "99999"}, "come back tomorrow"), "FORGE_UNREACHABLE"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value[0]),
)
def test_what_is_refused_goes_to_the_summary_and_says_so(server, comment, tmp_path, answer, code, caplog):
    server.answers.append((r"POST .*(comments|notes)$", answer))
    exit_code, done = comment()
    assert exit_code == 0 and done["action"] == "none" and done["code"] == code, done
    assert not server.ours(MARKER)
    if server.kind == "github":
        text = (tmp_path / "summary.md").read_text()
        assert code in text and TOKEN not in text and "Nothing got worse" in text
        assert "action=none\nurl=\n" in (tmp_path / "output").read_text()


def test_a_refused_update_is_no_second_comment(server, comment):
    server.add(f"{MARKER}\nold", mine=True)
    server.answers.append((rf"{UPDATE[server.kind]} ", (403, {}, "locked")))
    assert comment()[1]["code"] == "FORGE_FORBIDDEN"
    assert server.count("POST") == 0 and len(server.comments) == 1


@pytest.mark.parametrize("server", ["github"], indirect=True)  # jobs of forks have no token on GitLab
@pytest.mark.parametrize("head", [{"repo": {"full_name": "someone/r"}}, {"repo": None}], ids=["fork", "deleted fork"])
def test_a_fork_gets_the_summary_and_no_request_is_sent(comment, server, tmp_path, head):
    event = tmp_path / "fork.json"
    event.write_text(json.dumps({"pull_request": {"number": 5, "head": head}}))
    code, done = comment(GITHUB_EVENT_PATH=str(event))
    assert code == 0 and done["code"] == "FORGE_FORK" and not server.calls
    assert "Nothing got worse" in (tmp_path / "summary.md").read_text()


def test_without_a_token_or_a_pull_request_nothing_is_sent(comment, server, tmp_path):
    assert comment(GITHUB_TOKEN="", GITLAB_TOKEN="")[1]["code"] == "FORGE_TOKEN"
    event = tmp_path / "push.json"
    event.write_text('{"ref": "refs/heads/main"}')
    none = {"GITHUB_EVENT_NAME": "push", "GITHUB_EVENT_PATH": str(event), "CI_MERGE_REQUEST_IID": ""}
    assert comment(**none)[1]["code"] == "FORGE_NO_REQUEST"
    assert not server.calls
    assert comment("--number", "5", **none)[1]["action"] == "created"


@pytest.mark.parametrize(
    "url", ["http://api.example.org", "https://me:secret@api.example.org", "ftp://api.example.org"]
)
def test_a_token_is_sent_in_clear_to_no_other_machine(server, gate, tmp_path, monkeypatch, capsys, url):
    for name, value in server.environ(tmp_path, GITHUB_API_URL=url, CI_API_V4_URL=url).items():
        monkeypatch.setenv(name, value)
    code = cli.main("v2t-eval", "", VERBS, ["ci", "comment", str(gate)], package="v2t_eval")
    said = capsys.readouterr().err
    assert code == 7 and "error POLICY" in said and "secret@" not in said and not server.calls


def test_a_gate_that_could_not_run_replaces_the_verdict_of_before(server, comment, gate):
    comment("--exit-code", "0")
    comment("--exit-code", "5")
    (ours,) = server.ours(MARKER)
    assert "exit code 5" in ours["body"] and "Nothing got worse" not in ours["body"]
    (gate / "gate.md").unlink()
    comment()
    assert "no verdict" in server.ours(MARKER)[0]["body"]


def test_a_comment_is_within_the_forges_limit(server, comment, gate):
    (gate / "gate.md").write_text("# Gate\n\n" + "é" * 100_000)
    code, done = comment("--artifacts", "https://github.test/o/r/actions/runs/77/artifacts/9")
    assert done["action"] == "created"
    (ours,) = server.ours(MARKER)
    assert len(ours["body"]) <= 65_536 and ours["body"].rstrip().endswith("artifacts/9)")


def test_no_line_is_a_command_of_gitlab(gate, tmp_path):
    server = ForgeServer("gitlab")
    (gate / "gate.md").write_text("# Gate\n\n/merge\n  /close\n- /approve\n")
    post(gitlab.Forge(server.environ(tmp_path)), "gate", text_of(gate))
    sent = server.bodies[0]["body"]
    assert not any(line.lstrip().startswith("/") for line in sent.split("\n")) and "&#47;merge" in sent
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["", "a b", "a--b", "-->", "x" * 65, "a\nb"])
def test_a_name_that_would_break_the_marker_is_refused(gate, name, capsys, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    words = ["ci", "comment", str(gate), f"--name={name}", "--dry-run"]
    assert cli.main("v2t-eval", "", VERBS, words, package="v2t_eval") == 2


def test_replies_that_are_no_comments_are_errors(server, comment):
    server.comments.append({"id": "seven", "body": MARKER, "user": OTHER["github"], "author": OTHER["gitlab"]})
    assert comment()[1]["code"] == "FORGE_REPLY"
