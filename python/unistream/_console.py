"""Blocks of lines on standard output: rulers around them, an emoji before each line."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Literal, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class _Style:
    """How a line is printed here and now."""

    #: What stands before each line, outermost first; the last one belongs to the block itself.
    pipes: tuple[str, ...] = ("| ",)
    indent: int = 0
    enabled: bool = True


class Console:
    """Prints lines and rulers, in nested blocks.

    Each thread and each task has its own nesting, and its own switch.
    """

    def __init__(self) -> None:
        """Start outside of every block, switched on."""
        self._style = contextvars.ContextVar("unistream_console", default=_Style())

    @property
    def enabled(self) -> bool:
        """Whether anything is printed here and now."""
        return self._style.get().enabled

    def info(self, msg: str, indent: int = 0, tab: str = "  ", pipe: str | None = None) -> str:
        """Print a message, each of its lines behind the block's emoji."""
        style = self._style.get()
        pipes = style.pipes if pipe is None else (*style.pipes[:-1], _padded(pipe))
        before = "".join(pipes) + tab * (style.indent + indent)
        lines = [before + line if line else before.rstrip() for line in msg.split("\n")]
        if style.enabled:
            for line in lines:
                print(line)
        return lines[-1]

    debug = warning = error = critical = info

    def ruler(
        self,
        msg: str,
        char: str = "-",
        align: Literal["<", ">", "^"] = "<",
        length: int = 80,
        left_padding: int = 5,
        right_padding: int = 5,
        corner: str = "+",
    ) -> str:
        """Print a message inside a line of `length` characters."""
        style = self._style.get()
        outer = "".join(style.pipes[:-1])
        width = length - 2 * len(corner) - left_padding - right_padding - len(outer)
        middle = f"{f' {msg} ':{char}{align}{width}}"
        line = f"{outer}{corner}{char * left_padding}{middle}{char * right_padding}{corner}"
        if style.enabled:
            print(line)
        return line

    @contextlib.contextmanager
    def _styled(self, **changes: object) -> Iterator[Console]:
        token = self._style.set(dataclasses.replace(self._style.get(), **changes))  # type: ignore[arg-type]
        try:
            yield self
        finally:
            self._style.reset(token)

    def indent(self, level: int = 1) -> contextlib.AbstractContextManager[Console]:
        """Indent the lines inside the `with` block."""
        return self._styled(indent=self._style.get().indent + level)

    def pipe(self, pipe: str | None = None) -> contextlib.AbstractContextManager[Console]:
        """Put another character before the lines inside the `with` block."""
        pipes = self._style.get().pipes
        return self._styled(pipes=pipes if pipe is None else (*pipes[:-1], _padded(pipe)))

    def nested(self, pipe: str | None = None) -> contextlib.AbstractContextManager[Console]:
        """Nest the blocks inside the `with` block one deeper."""
        return self._styled(pipes=(*self._style.get().pipes, _padded(pipe or "|")))

    def disabled(self, disable: bool = True) -> contextlib.AbstractContextManager[Console]:
        """Print nothing inside the `with` block."""
        return self._styled(enabled=self._style.get().enabled and not disable)

    @contextlib.contextmanager
    def block(self, start: str, end: str, error: str, pipe: str) -> Iterator[Console]:
        """Print rulers before and after the `with` block; `end` and `error` may say `{elapsed}`."""
        began = time.monotonic()
        ending = error
        with self.pipe(pipe):
            self.ruler(start)
            self.info("")
            try:
                yield self
                ending = end
            finally:
                self.info("")
                self.ruler(ending.format(elapsed=time.monotonic() - began))

    def start_and_end(
        self, msg: str, start_emoji: str = "🟢", error_emoji: str = "🔴", end_emoji: str = "🟢", pipe: str = "| "
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function: print rulers when it starts, ends and raises."""

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            @functools.wraps(function)
            def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
                title = repr(msg.format(**kwargs))
                start = f"⏱ {_spaced(start_emoji)}Start {title}"
                end = f"⏰ {_spaced(end_emoji)}End {title}, elapsed = {{elapsed:.2f}} sec"
                error = f"⏰ {_spaced(error_emoji)}Error {title}, elapsed = {{elapsed:.2f}} sec"
                with self.block(start, end, error, pipe):
                    return function(*args, **kwargs)

            return wrapper

        return decorate

    def emoji_block(self, msg: str, emoji: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function: print rulers, with an emoji before each line."""
        return self.start_and_end(msg, emoji, f"❌ {emoji}", f"✅ {emoji}", emoji)


def printable(text: str) -> str:
    r"""Escape what cannot be seen: text from elsewhere then neither steers a terminal nor adds lines.

    >>> print(printable("a\nb\x1b[2J\u202e"))
    a\nb\x1b[2J\u202e
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _padded(pipe: str) -> str:
    return pipe if pipe.endswith(" ") else f"{pipe} "


def _spaced(emoji: str) -> str:
    return f"{emoji} " if emoji else ""


console = Console()
