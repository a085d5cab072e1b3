"""The page of generated clips: what it says, how it shows them, and that nothing in it runs."""

from __future__ import annotations

import re

from t2v.generate.gallery import write_gallery
from t2v.generate.summary import GenerateSummary

BALL = "A red ball rolls to the left on the beach."
ROW = {"id": "i", "path": "clips/a b%23.mp4", "prompt": "p", "seed": 0, "model": "m"}
SHAPE = {"num_frames": 1, "height": 8, "width": 8}


def test_the_gallery_escapes_everything_and_stands_alone(tmp_path):
    evil = "<script>alert('x')</script>\"&{title}\u202e"
    row = {**ROW, "prompt": evil, "model": evil, "shape": SHAPE, "warnings": [evil, {"code": evil, "message": evil}]}
    failure = {"id": "f", "prompt": evil, "error": {"code": evil, "message": evil}}
    write_gallery([row], [failure], tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    assert "<script" not in page and "alert(&#x27;x&#x27;)&lt;/script&gt;" in page and "\u202e" not in page
    assert 'src="clips/a%20b%2523.mp4"' in page
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:|//|/|file:)", page) and "url(" not in page
    write_gallery([{**row, "path": '"><script>x</script>.mp4'}], [], tmp_path / "index.html")
    assert "<script" not in (tmp_path / "index.html").read_text()


def test_the_gallery_says_what_made_the_clips_and_shows_them_large(tmp_path):
    row = {**ROW, "model": "starter", "generator": "dit", "prompt": BALL, "shape": SHAPE}
    command = ["t2v", "generate", "It's <b>", "-o", "made"]
    write_gallery([row], [], tmp_path / "index.html", command)
    page = (tmp_path / "index.html").read_text()
    assert all(f"<{tag}>1 clip by the bundled generator</{tag}>" in page for tag in ("title", "h1"))
    assert "<code>t2v generate &#x27;It&#x27;&quot;&#x27;&quot;&#x27;s &lt;b&gt;&#x27; -o made</code>" in page
    # A height in the tag without `height:auto` puts clips of 64 pixels into bars.
    assert "video{display:block;width:100%;height:auto" in page
    assert '<video class="small"' in page and "image-rendering:pixelated" in page
    assert f"{BALL}<br><small>seed 0 · 1 frame · 8×8</small>" in page
    assert "prefers-color-scheme:dark" in page and "width=device-width" in page
    large = {**row, "model": "Wan", "generator": "diffusers", "shape": {**SHAPE, "width": 832}}
    write_gallery([row, large], [], tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    assert "<title>2 clips</title>" in page and page.count('<video class="small"') == 1
    assert "· the bundled generator</small>" in page and "· Wan</small>" in page and "<code>" not in page


def test_the_summary_of_one_clip_is_in_the_singular():
    assert GenerateSummary(asked=1, made=1, seconds=0.5).lines()[0].startswith("1 clip: 1 made")
    assert GenerateSummary(asked=2, made=1, seconds=0.5).lines()[0].startswith("2 clips: 1 made")
