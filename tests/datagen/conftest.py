"""Fake images servers, and a generator that asks them."""

import pytest

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
