# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from cli.sse import messages


def test_messages_are_the_data_of_a_stream() -> None:
    stream = [
        ": keep-alive", "", 'data: {"a": 1}', "", "event: x", "id: 7", 'data:{"a":', "data: 2}", "", "data: nonsense",
        "", "data: [1]", "", 'data: {"a": 3}',
    ]  # fmt: skip
    assert list(messages(stream)) == [{"a": 1}, {"a": 2}]  # the last one is not complete
