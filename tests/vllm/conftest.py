"""A real vLLM, started once a run."""

from vllm_server import vllm

__all__ = ["vllm"]
