"""What LiteLLM's exceptions mean: they have a status and a `detail`, and wrap what broke off a stream."""

from __future__ import annotations

import pytest

from streamguard import FaultCode
from streamguard.runtime.producing.failures import fault_of
from streamguard.stores.memory import MemoryStore

from ..runtime.stage import saying, working
from .provider_chats import NOISE_OF_LIBRARIES

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings(*NOISE_OF_LIBRARIES)]

NAMED = {
    "RateLimitError": (FaultCode.PROVIDER_RATE_LIMITED, True),
    "Timeout": (FaultCode.PROVIDER_TIMEOUT, True),
    "APIConnectionError": (FaultCode.PROVIDER_ABORTED, True),
    "AuthenticationError": (FaultCode.PROVIDER_ERROR, False),
    "BadRequestError": (FaultCode.PROVIDER_ERROR, False),
    "ContextWindowExceededError": (FaultCode.PROVIDER_ERROR, False),
    "InternalServerError": (FaultCode.PROVIDER_ERROR, True),
    "ServiceUnavailableError": (FaultCode.PROVIDER_ERROR, True),
}


async def meaning(error: Exception) -> tuple[FaultCode, bool]:
    """Code and retryability of the fault that an endpoint's exception becomes."""
    async with working(MemoryStore()) as worker:
        stream = await worker.start(saying("x"))
        fault = fault_of(error, stream)
        await stream.ended()
    return fault.code, fault.retryable


@pytest.mark.parametrize("name", NAMED)
async def test_an_exception_of_litellm(name: str) -> None:
    import litellm

    code, retryable = NAMED[name]
    error = getattr(litellm, name)(message="x", llm_provider="openai", model="m")
    assert await meaning(error) == (code, retryable)


@pytest.mark.parametrize("name", NAMED)
async def test_what_broke_off_a_stream_is_what_counts(name: str) -> None:
    import litellm
    from litellm.exceptions import MidStreamFallbackError

    code, retryable = NAMED[name]
    original = getattr(litellm, name)(message="x", llm_provider="openai", model="m")
    error = MidStreamFallbackError("x", model="m", llm_provider="openai", original_exception=original)
    assert await meaning(error) == (code, retryable)
