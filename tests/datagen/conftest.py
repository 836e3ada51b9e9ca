"""Fake servers of images and of texts, and who asks them."""

import pytest

from composed_samples import PARENTS, row
from datagen.chat_writer import ChatWriterConfig
from datagen.fake_chat_server import MODEL as CHAT_MODEL
from datagen.fake_chat_server import Behaviour as ChatBehaviour
from datagen.fake_chat_server import FakeChatServer
from datagen.fake_images_server import MODEL, Behaviour, FakeImagesServer
from datagen.images_api import ImagesApiConfig
from datagen.multi_candidate import MultiCandidateConfig
from serving import starting
from shards.ledger import Ledger
from shards.stage import Work
from shards.storage import Storage

QUICK = {"in_flight": 4, "timeout_s": 5, "attempts": 2, "outage_s": 1}


@pytest.fixture
def serve():
    """Starts fake servers that end with the test."""
    with starting(FakeImagesServer, Behaviour) as start:
        yield start


@pytest.fixture
def images_api():
    """Settings of a generator at servers."""

    def config(*servers, **changes):
        urls = [getattr(server, "url", server) for server in servers]
        return ImagesApiConfig(**{"model": MODEL, "revision": "r1", "endpoints": urls, **QUICK, **changes})

    return config


@pytest.fixture
def draw(tmp_path, images_api):
    """Draws at servers with one ledger, a generator a call."""

    def run(servers, requests, **changes):
        generator = images_api(*servers, **changes).build(Ledger(Storage(str(tmp_path / "ledger"))))
        try:
            return generator.draw(requests), generator.take_counts()
        finally:
            generator.close()

    return run


@pytest.fixture
def serve_chat():
    """Starts fake language models that end with the test."""
    with starting(FakeChatServer, ChatBehaviour) as start:
        yield start


@pytest.fixture
def chat_writer():
    """Settings of a writer at servers."""

    def config(*servers, **changes):
        urls = [getattr(server, "url", server) for server in servers]
        return ChatWriterConfig(
            **{"model": CHAT_MODEL, "revision": "r1", "endpoints": urls, **QUICK, **changes}
        )

    return config


@pytest.fixture
def write(tmp_path, chat_writer):
    """Writes at servers with one ledger, a writer a call."""

    def run(servers, requests, **changes):
        writer = chat_writer(*servers, **changes).build(Ledger(Storage(str(tmp_path / "ledger"))))
        try:
            return writer.write(requests), writer.take_counts()
        finally:
            writer.close()

    return run


@pytest.fixture
def make(tmp_path, images_api, chat_writer):
    """Outcomes of a config at servers, with a ledger of one folder."""

    def run(images, chats, parents=PARENTS, **changes):
        settings = {"samples": 28, "rounds": 4, "edit_px": 128, **changes}
        settings.setdefault("editor", images_api(*images, does=("edit",)) if images else None)
        settings.setdefault("writer", chat_writer(*chats) if chats else None)
        config = MultiCandidateConfig(**settings)
        planned = list(config.plan([row(n, s) for n, s in enumerate(parents.values())]))
        works = [Work(key=p.key, spec=p.spec, parents=(parents[p.parents[0].key],)) for p in planned]
        stage = config.build(Ledger(Storage(str(tmp_path / "ledger"))))
        try:
            return list(zip(works, stage(works), strict=True)), stage.take_counts()
        finally:
            stage.close()

    return run
