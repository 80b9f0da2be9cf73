"""What holds behind every proxy with the configuration of its how-to page."""

from __future__ import annotations

from tests.harness.sse import Ending, open_sse, ui_text

from .matrix import Chat, left, said

__all__ = ["BehindProxy"]


class BehindProxy:
    """Tests of a guarded application through a proxy: the module that inherits them has the fixture `chat`."""

    async def test_each_event_arrives_before_the_next_is_produced(self, chat: Chat) -> None:
        """The model waits with each piece until the client has the one before."""
        await chat.open_gate("-0")
        async with chat.post(step=chat.id, n=10) as stream:
            assert "content-encoding" not in stream.headers
            for number in range(10):
                await said(stream, f"w{number}")
                await chat.open_gate(f"-{number + 1}")
            rest = await stream.read_rest()
            assert (stream.ending, rest[-1].data) == (Ending.CLEAN, "[DONE]")
        assert await chat.left() == left("completed", 10)

    async def test_a_broken_connection_stays_broken_and_the_client_resumes(self, chat: Chat) -> None:
        async with chat.post(gate=chat.id, gate_at=2) as stream:
            await said(stream, "w1")
            chat.site.worker.kill()
            await stream.read_rest()
            assert stream.ending is Ending.CUT
        chat.site.worker.start()
        async with chat.resume(stream.cursor) as again:
            rest = await again.read_rest()
            assert (again.ending, rest[-1].data) == (Ending.CLEAN, "[DONE]")
        found, expected = await chat.left(), left("interrupted", 2)
        for ends in (found, expected):
            del ends["charged"]  # by what the last heartbeat before the kill had told
        assert found == expected

    async def test_a_client_that_leaves_the_proxy_leaves_the_answer_running(self, chat: Chat) -> None:
        async with chat.post(gate=chat.id) as stream:
            await said(stream, "w0")
        await chat.open_gate()
        assert await chat.left() == left("completed", 3)

    async def test_ids_with_slashes_and_resuming(self, chat: Chat) -> None:
        chat.id += "/a b"
        async with chat.post() as stream:
            events = await stream.read_rest()
            assert ui_text(events) == "w0 w1 w2 "
        async with chat.resume(events[1].id) as again:
            assert await again.read_rest() == events[2:]

    async def test_bodies_pass_up_to_the_guard_s_own_limit(self, chat: Chat) -> None:
        async with chat.post(padding=3_000_000) as stream:
            assert stream.status == 200
            await stream.read_rest()

    async def test_pages_of_the_same_origin_may_change_things_and_others_not(self, chat: Chat) -> None:
        async def stopped(origin: str) -> int:
            target = f"/api/chat/{chat.id}/stop"
            headers = {**chat.headers, "Origin": origin, "Host": f"chat.example:{chat.port}", "Cookie": "a=b"}
            async with open_sse(chat.port, target, method="POST", headers=headers) as answer:
                return answer.status

        assert await stopped(f"http://chat.example:{chat.port}") == 204
        assert await stopped("http://chat.example") == 403
        assert await stopped("http://elsewhere.example") == 403
