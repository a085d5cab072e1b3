"""The gateway's routes over ASGI, with stand-ins behind them: models, frames, page, counts, and its last minutes."""

from __future__ import annotations

import asyncio
import re

import pytest

from serve_stand_ins import CHAT, SERVED, WORDS, code_of, scene, two_keys, with_video
from v2t.backends.abilities import Abilities
from v2t.serve.settings import ServeConfig, ServeLimits


@pytest.fixture
def keys(monkeypatch):
    return two_keys(monkeypatch)


def test_too_many_requests_wait_and_then_are_refused():
    async def play(client, engine, media, gateway):
        engine.held = asyncio.Event()
        tasks = [asyncio.create_task(client.post(CHAT, json=WORDS)) for _ in range(5)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert [code_of(task.result()) for task in done] == [(503, "BUSY")]
        assert (gateway.queue.taken, gateway.queue.waiting) == (2, 2)
        text = (await client.get("/metrics")).text
        assert "v2t_in_flight 2.0" in text and "v2t_waiting 2.0" in text
        engine.held.set()
        assert [task.result().status_code for task in (await asyncio.wait(pending))[0]] == [200] * 4

    scene(play, ServeConfig(limits=ServeLimits(in_flight=2)))


def test_requests_whose_videos_are_read_hold_no_slot_of_the_engine_and_end_in_time():
    async def play(client, engine, media, gateway):
        media.held = asyncio.Event()  # as behind decoders that never become free
        video = {"url": "data:video/mp4;base64,AA=="}
        stuck = [asyncio.create_task(client.post(CHAT, json=with_video()))]
        stuck += [asyncio.create_task(client.post("/v1/frames", json=video))]
        while len(media.asked) < 2:
            await asyncio.sleep(0)
        assert (gateway.queue.preparing, gateway.queue.taken) == (2, 0)
        text = (await client.get("/metrics")).text
        assert "v2t_reading_in_flight 2.0" in text and "v2t_in_flight 0.0" in text and "v2t_waiting 0.0" in text
        assert "v2t_decoders_in_flight 0.0" in text and "v2t_decoders_waiting 0.0" in text
        for path, body in ((CHAT, with_video()), ("/v1/frames", video)):  # all places are taken
            assert code_of(await client.post(path, json=body)) == (503, "BUSY")
        assert (await client.post(CHAT, json=WORDS)).status_code == 200
        for task in stuck:
            assert code_of(await task) == (503, "BUSY")
        assert gateway.queue.preparing == gateway.memory.held == media.memory.held == 0
        assert len(engine.asked) == 1 and len(media.asked) == 2

    scene(play, ServeConfig(limits=ServeLimits(in_flight=2, answer_s=2.0)))


def test_health_reports_a_queue_that_does_not_move():
    async def play(client, engine, media, gateway):
        now = [0.0]
        media.decoder_queue._clock = lambda: now[0]
        async with media.decoder_queue.slot("a"), media.decoder_queue.slot("b"):
            now[0] = 100.0  # one decoder may work for 60 s
            assert (await client.get("/health")).json() == {"status": "ok", "engine": "ready"}
            now[0] = 181.0
            reply = await client.get("/health")
            assert (reply.status_code, reply.json()["stalled"]) == (503, ["decoders"])
        assert (await client.get("/health")).status_code == 200

    scene(play)


def test_the_list_of_models_says_what_a_page_and_a_client_need(keys):
    async def play(client, *_):
        base, adapter = (await client.get("/v1/models", headers=keys[0])).json()["data"]
        assert (base["id"], adapter["id"], adapter["parent"]) == ("base", "shop", "base")
        about = base["cineloop"]
        assert (about["segment_frames"], about["tokens_per_segment"], about["key_needed"]) == (2, 3, True)
        assert Abilities.from_dict(about["abilities"]) == SERVED.abilities == Abilities(window_s=8.0, styles=("short",))
        assert set(about["limits"]) == {"upload_mb", "duration_s", "videos", "max_tokens"}
        assert about["frames"]["num_frames"] == 4 and about["frames"]["size"] == [8, 8]

    scene(play)


def test_one_model_can_be_retrieved_by_its_name(keys):
    async def play(client, engine, media, gateway):
        mine, _ = keys
        for card in (await client.get("/v1/models", headers=mine)).json()["data"]:
            assert (await client.get(f"/v1/models/{card['id']}", headers=mine)).json() == card
        assert code_of(await client.get("/v1/models/none", headers=mine)) == (404, "UNKNOWN_MODEL")
        assert (await client.get("/v1/models/none")).status_code == 401

    scene(play)


def test_frames_that_would_be_sent_can_be_looked_at():
    async def play(client, engine, media, gateway):
        reply = await client.post("/v1/frames", json={"url": "data:video/mp4;base64,AA=="})
        told = reply.json()
        assert [frame["time_s"] for frame in told["frames"]] == [0.0, 0.5, 1.0, 1.5]
        assert all(frame["jpeg"].startswith("data:image/jpeg;base64,/9j/") for frame in told["frames"])
        assert (told["visual_tokens"], told["fps"], told["duration_s"], told["decoder"]) == (6, 2.0, 2.0, "stand-in")
        assert code_of(await client.post("/v1/frames", json={"url": "file:x"})) == (403, "URL_FORBIDDEN")
        assert code_of(await client.post("/v1/frames", json={"url": "x", "fps": 9})) == (400, "UNKNOWN_FIELD")
        assert code_of(await client.post("/v1/frames", json={"url": "x", "model": "y"})) == (404, "UNKNOWN_MODEL")
        assert not engine.asked

    scene(play)


def test_counts_have_few_labels_and_none_of_a_clients_choice():
    async def play(client, *_):
        for path in ("/secret-1", "/v1/files/file-2", "/page/secret-3", "/v1/files/x/content", "/secret%0A4"):
            await client.get(path)
        await client.request("SECRET", "/live")
        text = (await client.get("/metrics")).text
        assert "secret" not in text.lower()
        routes = set(re.findall(r'v2t_requests_total\{code="\d+",route="([^"]+)"', text))
        assert routes == {"other", "/v1/files/{id}", "/page/{file}", "/v1/files/{id}/content", "/live"}
        names = set(re.findall(r"# TYPE (\S+)", text))
        assert names >= {
            "v2t_requests_total",
            "v2t_request_seconds",
            "v2t_time_to_first_piece_seconds",
            "v2t_videos_total",
            "v2t_decode_seconds",
            "v2t_frames_total",
            "v2t_answer_tokens_total",
            "v2t_in_flight",
            "v2t_waiting",
            "v2t_uploads_bytes",
            "v2t_engine_up",
        }

    scene(play)


def test_the_page_is_a_fixed_list_of_files(tmp_path, monkeypatch):
    for name in ("index.html", "app.js", "style.css", "notes.py"):
        (tmp_path / name).write_text(name)
    (tmp_path / "canary.js").symlink_to("/etc/hostname")
    monkeypatch.setattr("v2t.serve.app.PAGE", tmp_path)

    async def play(client, *_):
        (tmp_path / "late.js").write_text("late")
        assert (await client.get("/")).headers["content-type"] == "text/html; charset=utf-8"
        reply = await client.get("/page/app.js")
        assert (reply.text, reply.headers["content-type"]) == ("app.js", "text/javascript; charset=utf-8")
        assert reply.headers["cache-control"] == "no-cache"
        assert (await client.get("/page/style.css")).headers["content-type"] == "text/css; charset=utf-8"
        for name in ("notes.py", "late.js", "..%2fapp.py", "canary.js"):
            assert code_of(await client.get(f"/page/{name}")) == (404, "NOT_FOUND")

    scene(play)


def test_the_responses_api_names_the_route_to_use():
    async def play(client, *_):
        reply = await client.post("/v1/responses", json={"model": "base", "input": "What?"})
        assert code_of(reply) == (501, "UNSUPPORTED") and "/v1/chat/completions" in reply.json()["error"]["message"]

    scene(play)


def test_without_a_page_there_is_none():
    async def play(client, *_):
        assert (await client.get("/")).status_code == 404
        assert (await client.get("/page/app.js")).status_code == 404

    scene(play, ServeConfig(page=False))
