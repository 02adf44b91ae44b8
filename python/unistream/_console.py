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
        self._is_on = True

    @property
    def enabled(self) -> bool:
        """Whether anything is printed here and now."""
        return self._is_on and self._style.get().enabled

    def off(self) -> None:
        """Print nothing anywhere until `on`."""
        self._is_on = False

    def on(self) -> None:
        """Print again."""
        self._is_on = True

    def info(self, msg: str, indent: int = 0, tab: str | None = None, pipe: str | None = None) -> str:
        """Print a message, each of its lines behind the block's emoji."""
        style = self._style.get()
        pipes = style.pipes if pipe is None else (*style.pipes[:-1], _padded(pipe))
        before = "".join(pipes) + ("  " if tab is None else tab) * (style.indent + indent)
        lines = [before + line if line else before.rstrip() for line in msg.split("\n")]
        if self.enabled:
            for line in lines:
                _print(line)
        return lines[-1]

    warning = error = critical = info

    def debug(self, msg: str, indent: int = 0, tab: str | None = None, pipe: str | None = None) -> str:
        """Print nothing: what is for debugging is not meant for who reads this."""
        with self.disabled():
            return self.info(msg, indent, tab, pipe)

    def ruler(
        self,
        msg: str,
        char: str = "-",
        align: Literal["<", ">", "^"] = "<",
        length: int = 80,
        left_padding: int = 5,
        right_padding: int = 5,
        corner: str = "+",
        pipe: str | None = None,  # noqa: ARG002 0.1.2's method had it, and nothing stands before a ruler
        func: Callable[[str], object] | None = None,
    ) -> str:
        """Print a message inside a line of `length` characters; `func` prints it, if given."""
        style = self._style.get()
        outer = "".join(style.pipes[:-1])
        width = length - 2 * len(corner) - left_padding - right_padding - len(outer)
        # 0.1.2 took a member of an enumeration.
        middle = f"{f' {msg} ':{char}{getattr(align, 'value', align)}{width}}"
        line = f"{outer}{corner}{char * left_padding}{middle}{char * right_padding}{corner}"
        if self.enabled:
            (func or _print)(line)
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

    def pretty_log(
        self,
        start_msg: str = "Start {func_name}()",
        error_msg: str = "Error {func_name}(), elapsed = {elapsed:.2f} sec",
        end_msg: str = "End {func_name}(), elapsed = {elapsed:.2f} sec",
        char: str = "-",
        align: Literal["<", ">", "^"] = "<",
        length: int = 80,
        left_padding: int = 5,
        right_padding: int = 5,
        corner: str = "+",
        nest: int = 0,
        pipe: str | None = None,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function: print rulers when it starts, ends and raises.

        The messages may say `{func_name}`, the function's arguments that are given by name, and, but for the first,
        `{elapsed}`, which is in seconds. `nest` is how much deeper its lines stand.
        """

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            @functools.wraps(function)
            def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
                began = time.monotonic()

                def ruler(msg: str, **more: float) -> None:
                    text = msg.format(func_name=function.__name__, **more, **kwargs)
                    self.ruler(text, char, align, length, left_padding, right_padding, corner)

                with contextlib.ExitStack() as blocks:
                    for _ in range(nest):
                        blocks.enter_context(self.nested(pipe))
                    if not nest:
                        blocks.enter_context(self.pipe(pipe))
                    ruler(start_msg)
                    self.info("")
                    ending = error_msg
                    try:
                        result = function(*args, **kwargs)
                        ending = end_msg
                    finally:
                        self.info("")
                        ruler(ending, elapsed=time.monotonic() - began)
                    return result

            return wrapper

        return decorate

    def start_and_end(
        self, msg: str, start_emoji: str = "🟢", error_emoji: str = "🔴", end_emoji: str = "🟢", pipe: str = "| "
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function: print rulers with emojis when it starts, ends and raises."""
        return self.pretty_log(
            f"⏱ {_spaced(start_emoji)}Start {msg!r}",
            f"⏰ {_spaced(error_emoji)}Error {msg!r}, elapsed = {{elapsed:.2f}} sec",
            f"⏰ {_spaced(end_emoji)}End {msg!r}, elapsed = {{elapsed:.2f}} sec",
            pipe=pipe,
        )

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


def _print(line: str) -> None:
    """Print a line if that can be done: what is told about a record never stops the record."""
    try:
        print(line)
    except UnicodeEncodeError as error:
        with contextlib.suppress(OSError, ValueError):
            print(line.encode(error.encoding, "backslashreplace").decode(error.encoding))
    except (OSError, ValueError):
        # A full disk, a closed pipe, a closed file.
        pass


def _padded(pipe: str) -> str:
    return pipe if pipe.endswith(" ") else f"{pipe} "


def _spaced(emoji: str) -> str:
    return f"{emoji} " if emoji else ""


console = Console()
