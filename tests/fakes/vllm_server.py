"""A real vLLM on this machine's CPU, started once a run, with a tiny Qwen3-VL of random weights."""

import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
START_S = 300
FLAGS = [
    "--enforce-eager",
    "--max-model-len=8192",
    '--limit-mm-per-prompt={"image":6,"video":0}',
    "--skip-mm-profiling",
    "--enable-log-requests",
    "--enable-prompt-tokens-details",
    '--structured-outputs-config={"backend":"xgrammar","disable_any_whitespace":true}',
]
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": str(HERE / "vllm_site"),
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}


@dataclass(frozen=True)
class Vllm:
    """A server that runs.

    Attributes:
        url: without a path.
        model: name it serves.
        log: what it wrote.
        folder: where its model and tokenizer are.
        python: the interpreter that has vLLM.
        environment: of its processes.
    """

    url: str
    model: str
    log: Path
    folder: Path
    python: str
    environment: dict[str, str] = field(repr=False)

    def asked(self):
        """Ids of the questions it received, in order, as its own log has them."""
        return re.findall(r"Received request chatcmpl-([0-9a-f]{64})\b", self.log.read_text())


@pytest.fixture(scope="session")
def vllm(tmp_path_factory):
    """Fails, and says why, where vLLM cannot start; a machine without it has not passed."""
    python = os.environ.get("BAKERY_VLLM_PYTHON", str(ROOT / ".venv-vllm/bin/python"))
    if not Path(python).exists():
        pytest.fail(f"{python}: expected the environment of the tests' vLLM, got none; run make test-vllm")
    folder = tmp_path_factory.mktemp("vllm")
    environment = {**os.environ, **ENVIRONMENT}
    writer = [python, str(HERE / "write_tiny_model.py"), str(folder / "tiny")]
    subprocess.run(writer, check=True, env=environment, capture_output=True, timeout=START_S)
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "log"
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder / "tiny")]
    command += ["--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port), *FLAGS]
    with log.open("w") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
    try:
        found = Vllm(f"http://127.0.0.1:{port}", "tiny", log, folder / "tiny", python, environment)
        wait_until_healthy(server, found)
        yield found
    finally:
        server.terminate()
        server.wait(60)


def wait_until_healthy(server, found):
    end = time.monotonic() + START_S
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{found.url}/health", timeout=5) as answer:
                answer.read()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    pytest.fail(f"vLLM did not start in {START_S} s:\n{found.log.read_text()[-4000:]}")
