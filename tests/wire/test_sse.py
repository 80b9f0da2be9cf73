"""The SSE parser against the cases of the web platform tests (`eventsource/`), which name the tests below; the
splitter and the encoder by their properties."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamguard.errors import EventTooLargeError, InvalidPartError
from streamguard.wire.sse import (
    BOM,
    KEEP_ALIVE,
    Block,
    BlockSplitter,
    EventParser,
    SseEvent,
    encode_block,
    encode_comment,
    encode_text,
)

from .chunking import chunked, cuts, event_stream_bytes, independent_events


def parse(data: bytes) -> list[SseEvent]:
    return EventParser().feed(data)


def data_of(data: bytes) -> list[str]:
    return [event.data for event in parse(data)]


# -- the parser: notes by WPT name ------------------------------------------------------------------------------------


def test_format_bom_one_leading_mark_is_stripped() -> None:
    assert data_of(BOM + b"data:1\n\n" + b"data:2\n\n") == ["1", "2"]


def test_format_bom_2_a_second_mark_hides_the_first_field() -> None:
    assert data_of(BOM + BOM + b"data:1\n\ndata:2\n\n") == ["2"]


def test_a_mark_in_pieces_is_still_one() -> None:
    parser = EventParser()
    got = [event.data for piece in (b"\xef", b"\xbb", b"", b"\xbf", b"data:1\n\n") for event in parser.feed(piece)]
    assert got == ["1"]


def test_a_stream_that_only_begins_like_a_mark() -> None:
    parser = EventParser()
    assert parser.feed(b"\xef\xbb") == []
    assert [event.data for event in parser.feed(b"x\ndata:1\n\n")] == ["1"]


def test_format_newlines_cr_lf_and_crlf_may_be_mixed() -> None:
    assert data_of(b"data:test\r\ndata\ndata:test\r\n\r\r") == ["test\n\ntest"]


@pytest.mark.parametrize("at", range(1, 22))
def test_format_newlines_a_crlf_may_be_split_anywhere(at: int) -> None:
    stream = b"data:1\r\ndata:2\r\n\r\ndata:3\r\n\r\n"
    parser = EventParser()
    events = parser.feed(stream[:at]) + parser.feed(b"") + parser.feed(stream[at:])
    assert [event.data for event in events] == ["1\n2", "3"]


def test_a_bare_cr_dispatches_at_once() -> None:
    parser = EventParser()
    assert [event.data for event in parser.feed(b"data:1\r\r")] == ["1"]
    assert parser.feed(b"\n") == []


def test_format_comments() -> None:
    long = b"x" * 2048
    stream = b"data:1\r:\0\n:\r\ndata:2\n:" + long + b"\rdata:3\n:data:fail\r:" + long + b"\ndata:4\n\n"
    assert data_of(stream) == ["1\n2\n3\n4"]


def test_format_leading_space_one_space_goes_and_a_tab_stays() -> None:
    assert data_of(b"data:\ttest\rdata: \ndata:test\n\n") == ["\ttest\n\ntest"]
    assert data_of(b"data:  two\n\n") == [" two"]


def test_format_field_data() -> None:
    assert data_of(b"data:\n\ndata\ndata\n\ndata:test\n\n") == ["", "\n", "test"]


def test_format_field_parsing() -> None:
    stream = (
        b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n"
    )
    assert data_of(stream) == ["\0\n 2\n1\n3\n\n4"]


def test_format_field_unknown() -> None:
    assert data_of(b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n") == [
        "test\n\ntest"
    ]


def test_format_field_event_names_one_event_only() -> None:
    assert [event.event for event in parse(b"event:test\ndata:x\n\ndata:x\n\n")] == ["test", "message"]


def test_format_field_event_empty_means_message() -> None:
    assert [event.event for event in parse(b"event: \ndata:data\n\n")] == ["message"]


def test_an_event_without_data_dispatches_nothing_and_forgets_its_name() -> None:
    assert parse(b"event: lost\n\ndata:1\n\n") == [SseEvent("1", "message", "")]


def test_format_field_id_persists_and_can_be_reset() -> None:
    stream = b"id: 1\ndata:a\n\ndata:b\n\nid: 2\ndata:c\n\nid\ndata:d\n\nid: 3\n\ndata:e\n\n"
    assert [event.last_event_id for event in parse(stream)] == ["1", "1", "2", "", "3"]


def test_format_field_id_null_ignores_the_field() -> None:
    assert [event.last_event_id for event in parse(b"id: 1\ndata:a\n\nid: 2\0x\ndata:b\n\n")] == ["1", "1"]


def test_the_last_id_moves_with_blank_lines_only() -> None:
    parser = EventParser()
    parser.feed(b"id: 1\n\nid: 2\n")
    assert parser.last_event_id == "1"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"retry:03000", 3000),
        (b"retry:1000x", None),
        (b"retry", None),
        (b"retry:-1", None),
        (b"retry: 1.5", None),
        (b"retry:" + "٣".encode(), None),
        (b"retry:" + b"9" * 5000, None),
    ],
    ids=["digits", "bogus", "empty", "negative", "fraction", "unicode-digits", "endless"],
)
def test_format_field_retry(line: bytes, expected: int | None) -> None:
    parser = EventParser()
    assert [event.data for event in parser.feed(line + b"\ndata:x\n\n")] == ["x"]
    assert parser.retry_ms == expected


def test_format_data_before_final_empty_line_is_dropped_with_its_id() -> None:
    parser = EventParser()
    assert [event.data for event in parser.feed(b"id: 1\ndata:1\n\nid: 2\ndata:2\n")] == ["1"]
    assert parser.last_event_id == "1"


def test_format_null_character_is_kept() -> None:
    assert data_of(b"data:\0\n\n") == ["\0"]


def test_format_utf_8_also_in_pieces_and_broken() -> None:
    stream = "data:ok…€\n\n".encode() + b"data:\xff\xe2\x82\n\n"
    parser = EventParser()
    got = [event.data for i in range(len(stream)) for event in parser.feed(stream[i : i + 1])]
    assert got == ["ok…€", "\ufffd\ufffd"]


def test_other_line_separators_are_text() -> None:
    text = "a\u2028b\u2029c\x0bd\x0ce\x85f"
    assert data_of(f"data:{text}\n\n".encode()) == [text]


@pytest.mark.parametrize("piece", [b"data:xxxxxxxx\n", b"xxxxxxxxxx"], ids=["lines", "one line"])
def test_the_unfinished_event_is_bounded(piece: bytes) -> None:
    parser = EventParser(max_event_bytes=1000)
    for _ in range(1000 // len(piece)):
        parser.feed(piece)
    with pytest.raises(EventTooLargeError, match="1000 bytes"):
        parser.feed(piece * 2 + b"x" * 1000)


@given(event_stream_bytes, cuts)
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [8, 9, 10])
def test_any_chunking_gives_the_same_events(stream: bytes, at: list[int]) -> None:
    whole, pieces = EventParser(), EventParser()
    expected = whole.feed(stream)
    assert [event for chunk in chunked(stream, at) for event in pieces.feed(chunk)] == expected
    assert (pieces.last_event_id, pieces.retry_ms) == (whole.last_event_id, whole.retry_ms)


# -- the splitter -----------------------------------------------------------------------------------------------------


def split(data: bytes) -> tuple[list[Block], bytes]:
    splitter = BlockSplitter()
    blocks = splitter.feed(data)
    last, rest = splitter.close()
    return blocks + last, rest


@given(event_stream_bytes, cuts)
@example(b"data: 1\r\r\n\r\n", [8])
@example(b"\xef\xbb\xbf\r", [1, 2])
def test_blocks_and_rest_are_the_input_in_any_chunking(stream: bytes, at: list[int]) -> None:
    splitter = BlockSplitter()
    blocks = [block for chunk in chunked(stream, at) for block in splitter.feed(chunk)]
    last, rest = splitter.close()
    blocks += last
    assert b"".join(block.raw for block in blocks) + rest == stream
    assert (blocks, rest) == split(stream)


@given(event_stream_bytes)
def test_each_block_with_data_is_one_event(stream: bytes) -> None:
    blocks, rest = split(stream)
    parser = EventParser()
    for block in blocks:
        assert len(parser.feed(block.raw)) == block.has_data
    assert parser.feed(rest) == []


@given(event_stream_bytes)
def test_a_blocks_data_and_id_are_the_parsers(stream: bytes) -> None:
    for block in split(stream)[0]:
        parser = EventParser()
        if not block.opens_stream:
            parser.feed(b":\n")  # so that a byte order mark counts as text
        events = parser.feed(b"id: before\n" + block.raw.removeprefix(BOM if block.opens_stream else b""))
        assert [event.data for event in events] == [block.data.decode("utf-8", "replace")] * block.has_data
        assert block.has_id or parser.last_event_id == "before"


def test_a_block_is_given_as_soon_as_it_is_whole() -> None:
    splitter = BlockSplitter()
    assert splitter.feed(b"data: 1\n") == []
    assert splitter.feed(b"\n") == [Block(b"data: 1\n\n", opens_stream=True)]
    assert splitter.feed(b"data: 2\r\n\r\n\n") == [Block(b"data: 2\r\n\r\n"), Block(b"\n")]
    assert splitter.feed(b"data: 3\r\r") == []
    assert splitter.feed(b"d") == [Block(b"data: 3\r\r")]
    splitter.discard()
    assert splitter.close() == ([], b"")


def test_a_cr_at_the_end_ends_its_block() -> None:
    assert split(b"data: 1\r\r") == ([Block(b"data: 1\r\r", opens_stream=True)], b"")
    assert split(b"data: 1\r") == ([], b"data: 1\r")


@pytest.mark.parametrize(
    ("raw", "has_data", "has_id"),
    [
        (b"data\n\n", True, False),
        (b"id\ndata: x\n\n", True, True),
        (b": data: x\n\n", False, False),
        (b"xdata: x\n dataid: x\n\n", False, False),
        (b"id: a\0b\n\n", False, False),
        (b"id: a\rdata: x\r\r", True, True),
        (b"\n", False, False),
        (b"datax\nidx\n\n", False, False),
        (BOM + b"data: x\n\n", False, False),
    ],
)
def test_what_a_block_has(raw: bytes, has_data: bool, has_id: bool) -> None:
    block = Block(raw)
    assert (block.has_data, block.has_id) == (has_data, has_id)


def test_a_mark_does_not_count_in_the_first_block() -> None:
    (first,), _ = split(BOM + b"data: x\n\n")
    assert first.has_data
    assert first.data == b"x"


def test_blocks_are_bounded_to_the_byte() -> None:
    raw = b"data: " + b"x" * 92 + b"\r\r"
    splitter = BlockSplitter(max_block_bytes=100)
    assert splitter.feed(raw) == []
    assert splitter.close() == ([Block(raw, opens_stream=True)], b"")
    told: list[None] = []
    splitter = BlockSplitter(max_block_bytes=99, on_left_out=lambda: told.append(None))
    assert splitter.feed(raw + b"data: y\n\n") == [Block(b"data: y\n\n")]
    assert told == [None]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
@given(st.data())
@pytest.mark.long
def test_a_block_over_the_limit_is_left_out_in_any_chunking(end: bytes, data: st.DataObject) -> None:
    raw = b"data: 1" + end + b"data: " + b"\nx" * 90 + end + b"data: 2" + end + b"data: " + b"y" * 120
    told: list[None] = []
    splitter = BlockSplitter(max_block_bytes=100, on_left_out=lambda: told.append(None))
    blocks: list[Block] = []
    for chunk in chunked(raw, data.draw(st.lists(st.integers(0, len(raw)), max_size=12))):
        blocks += splitter.feed(chunk)
    more, rest = splitter.close()
    assert [block.data for block in (*blocks, *more)] == [b"1", b"2"]
    assert rest == b""
    assert len(told) == 2


@pytest.mark.long
def test_many_small_blocks_in_one_chunk_are_cut_in_linear_time() -> None:
    assert len(BlockSplitter().feed(b"\n" * 500_000)) == 500_000


# -- the encoder ------------------------------------------------------------------------------------------------------

texts = st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from("\r\n\0: \u2028\ufeff"), max_size=40)
lines = texts.map(lambda text: text.translate({ord("\r"): "", ord("\n"): "", 0: ""}))


@given(texts, lines | st.none(), lines | st.none(), st.integers(0, 10**12) | st.none())
def test_what_is_encoded_reads_back(data: str, event: str | None, event_id: str | None, retry: int | None) -> None:
    block = encode_block(data, event=event, event_id=event_id, retry_ms=retry)
    parser = EventParser()
    normal = data.replace("\r\n", "\n").replace("\r", "\n")
    assert parser.feed(block) == [SseEvent(normal, event or "message", event_id or "")]
    assert parser.retry_ms == retry
    (other,) = independent_events(block)
    assert (other.data, other.event, other.id) == (normal, event or "message", event_id or "")
    assert BlockSplitter().feed(block) == [Block(block, opens_stream=True)]


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\r\ndata: injected", "\0", "\ud800"])
@pytest.mark.parametrize("field", ["event", "event_id"])
def test_what_could_inject_a_line_is_refused(field: str, bad: str) -> None:
    with pytest.raises(InvalidPartError):
        encode_block("x", event=bad if field == "event" else None, event_id=bad if field == "event_id" else None)


def test_a_negative_retry_is_refused() -> None:
    with pytest.raises(InvalidPartError):
        encode_block("x", retry_ms=-1)


def test_data_may_be_any_bytes() -> None:
    assert encode_block(b"\xff\n\xe2\r\n") == b"data: \xff\ndata: \xe2\ndata: \n\n"


@given(texts)
def test_a_comment_is_never_seen(text: str) -> None:
    comment = encode_comment(text)
    assert comment.endswith(b"\n")
    assert not comment.endswith(b"\n\n")
    assert parse(comment + b"data: 1\n\n") == [SseEvent("1", "message", "")]


def test_a_keep_alive_has_one_newline() -> None:
    assert KEEP_ALIVE == b": hb\n"
    assert parse(b"data: 1\n\n" + KEEP_ALIVE + b"data: 2\n\n") == parse(b"data: 1\n\ndata: 2\n\n")


def test_surrogates_that_belong_together_are_joined_and_lone_ones_replaced() -> None:
    assert encode_text("a\ud83d\ude00b") == "a😀b".encode()
    assert encode_text("\ude00\ud83d") == "\ufffd\ufffd".encode()
