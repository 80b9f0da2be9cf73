"""Resumable, honest, self-healing LLM chat streams for ASGI applications."""
