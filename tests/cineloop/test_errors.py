"""Errors and warnings as data."""

import pytest

from cineloop.errors import Notice


def test_a_warning_is_a_code_and_a_message_and_comes_back_from_its_record():
    notice = Notice("DAMAGED", "3 of 8: left out")
    assert str(notice) == "DAMAGED: 3 of 8: left out"
    assert notice.record() == {"code": "DAMAGED", "message": "3 of 8: left out"}
    assert Notice.read(notice.record()) == notice and len({notice, Notice.read(notice.record())}) == 1


def test_no_code_is_read_out_of_a_text():
    assert Notice.read("DAMAGED: 3 of 8") == Notice("WARNING", "DAMAGED: 3 of 8")
    for wrong in (None, 3, [], {"code": "DAMAGED"}, {"code": 1, "message": "x"}):
        with pytest.raises(ValueError, match="code and a message"):
            Notice.read(wrong)
