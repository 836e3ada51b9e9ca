"""The page for people: what it writes can be read, what it shows is text, and no other site can use it."""

import http.client
import re
import threading
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlencode

import pytest

from filters.agreement import read_labels
from filters.label_page import COLUMNS, LabelError, Labelling, LabelServer, page
from filters.rubrics import load_questions, pick_questions
from shards.sample import Candidate
from tiny_samples import make_sample

HEADER = ",".join(COLUMNS)
HOSTILE = "\"><script>alert(1)</script>\n'&"


class Held(dict):
    """Samples by key, as a directory gives them."""

    @property
    def places(self):
        return self


def labelling(path, questions=("consistency",), count=2):
    plain = [make_sample(number) for number in range(count)]
    claimed = (Candidate(name=HOSTILE),)
    samples = [replace(s, instruction=HOSTILE, subjects=(claimed,) * len(s.references)) for s in plain]
    held = Held({sample.key: sample for sample in samples})
    return Labelling(held, list(held), pick_questions(questions), path)


def answer_all(found, label):
    while found.left:
        assert found.answer(found.left[0].place, label)


@contextmanager
def served(found):
    server = LabelServer(found, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    try:
        yield connection, server
    finally:
        connection.close()
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_empty_file_gets_its_first_line(tmp_path):
    path = tmp_path / "labels.csv"
    path.touch()
    answer_all(labelling(path), "3")
    assert path.read_text().splitlines()[0] == HEADER
    assert len(read_labels(path, load_questions())["consistency"]) == 2


def test_a_last_line_without_an_end_is_not_joined_with_the_next(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(f"{HEADER}\nelsewhere,consistency,4,-1,-1")
    answer_all(labelling(path), "3")
    assert sorted(read_labels(path, load_questions())["consistency"].values()) == [3, 3, 4]


def test_what_was_answered_is_not_asked_again(tmp_path):
    path = tmp_path / "labels.csv"
    answer_all(labelling(path), "3")
    assert not labelling(path).left


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"key,question,label\n", "expected a first line key,question,label,reference,candidate to go on"),
        (b"something\n", "got 'something'; write to another file"),
        (b"\xff\xfe\n", "expected a CSV in UTF-8"),
    ],
)
def test_a_file_that_rows_would_not_fit_into_is_refused_and_kept(tmp_path, content, said):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(LabelError, match=said):
        labelling(path)
    assert path.read_bytes() == content


def test_a_missing_folder_is_told_before_a_person_answers(tmp_path):
    with pytest.raises(LabelError, match="expected a folder to write into"):
        labelling(tmp_path / "none" / "labels.csv")


def test_a_question_that_a_page_cannot_show_is_told(tmp_path):
    with pytest.raises(LabelError, match="got nothing of edit_raw_first"):
        labelling(tmp_path / "labels.csv", ("edit_raw_first",))


def test_names_and_words_are_text(tmp_path):
    shown = page(labelling(tmp_path / "labels.csv", ("presence",)), "token")
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown


def test_an_image_is_called_as_the_question_calls_it(tmp_path):
    shown = page(labelling(tmp_path / "labels.csv", ("presence",)), "token")
    assert "Look at reference image 1:" in shown
    assert re.findall(r"/(\w+)\"><figcaption>([^<]*)<", shown) == [
        ("ref0", "reference image 1"),
        ("ref1", "reference image 2"),
        ("target", "target image"),
    ]


def test_no_other_site_can_frame_the_page_or_put_anything_into_it(tmp_path):
    with served(labelling(tmp_path / "labels.csv")) as (connection, _):
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert b"2 left" in answer.read()
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("length", ["-1", "many", "999999", ""])
def test_a_form_of_no_length_is_refused_and_not_waited_for(tmp_path, length):
    path = tmp_path / "labels.csv"
    with served(labelling(path)) as (connection, _):
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", length)
        connection.endheaders()
        assert connection.getresponse().status == 403
    assert not path.exists()


def test_a_form_that_is_no_text_is_refused(tmp_path):
    with served(labelling(tmp_path / "labels.csv")) as (connection, _):
        for body in (b"\xff\xfe", b"token=%C3%A9"):
            connection.request("POST", "/", body)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (403, b"expected a form of this page")


@pytest.mark.parametrize("path", ["/image/../../etc/passwd", "/image/none/target", "/image/%2e%2e/x", "//x"])
def test_a_path_leads_to_images_of_samples_and_nowhere_else(tmp_path, path):
    with served(labelling(tmp_path / "labels.csv")) as (connection, _):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (404, b"no such page")


def test_a_label_that_cannot_be_written_is_told_and_asked_again(tmp_path):
    found = labelling(tmp_path / "labels.csv")
    (tmp_path / "labels.csv").mkdir()  # in the way, after the start
    asked = found.left[0]
    with served(found) as (connection, server):
        form = dict(zip(("key", "question", "reference", "candidate"), asked.place, strict=True))
        body = urlencode(form | {"label": "3", "token": server.token})
        connection.request("POST", "/", body, {"Content-Type": "application/x-www-form-urlencoded"})
        answer = connection.getresponse()
        assert answer.status == 500
        assert b"expected to write the label" in answer.read()
    assert found.left[0] == asked


def test_a_port_in_use_says_what_to_do(tmp_path):
    found = labelling(tmp_path / "labels.csv")
    told = r"expected a free port, .*0 takes any"
    with served(found) as (_, server), pytest.raises(LabelError, match=told):
        LabelServer(found, server.server_port)
