"""Fake servers of images and of texts, and who asks them."""

import pytest

from datagen.chat_writer import ChatWriterConfig
from datagen.fake_chat_server import MODEL as CHAT_MODEL
from datagen.fake_chat_server import Behaviour as ChatBehaviour
from datagen.fake_chat_server import FakeChatServer
from datagen.fake_images_server import MODEL, Behaviour, FakeImagesServer
from datagen.images_api import ImagesApiConfig
from shards.ledger import Ledger
from shards.storage import Storage

QUICK = {"in_flight": 4, "timeout_s": 5, "attempts": 2, "outage_s": 1}


@pytest.fixture
def serve():
    """Starts fake servers that end with the test."""
    running = []

    def start(**behaviour):
        server = FakeImagesServer(Behaviour(**behaviour))
        running.append(server)
        return server.__enter__()

    yield start
    for server in running:
        server.__exit__()


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
    running = []

    def start(**behaviour):
        server = FakeChatServer(ChatBehaviour(**behaviour))
        running.append(server)
        return server.__enter__()

    yield start
    for server in running:
        server.__exit__()


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
