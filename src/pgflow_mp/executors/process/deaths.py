"""Words for the ends that a handler does not survive: a dead child, a step past its time."""

from __future__ import annotations

import signal

MAX_TRACE = 4000
"""Characters of a stack in an error."""
MAX_TAIL = 2000
"""Characters of a dead child's last output in an error."""

_OURS = ("/pgflow_mp/handler.py", "/pgflow_mp/executors/")


def timed_out(timeout: float, trace: str) -> str:
    """Return the error of a task past its time: the contract's line, then where it hung (D-24)."""
    return timed_out_at(timeout, user_stack(trace))


def timed_out_at(timeout: float, stack: str) -> str:
    """Return the error of a task past its time that was at `stack`, innermost call first."""
    below = f"\n\nIt was here (innermost call first):\n{stack}" if stack else ""
    return f"Task timed out after {timeout:g}s{below}"


def died(code: int | None, trace: str, tail: str) -> str:
    """Return the error of a task whose child died.

    Args:
        code: The child's exit status, negative for a signal; None where nobody knows.
        trace: What faulthandler wrote.
        tail: The end of what the child printed.
    """
    parts = [f"Worker process died: {describe(code)}"]
    if trace.strip():
        head, _, _ = trace.partition("\n\n")
        parts.append(f"{head}\n{user_stack(trace)}".strip() if "Fatal" in head else user_stack(trace))
    if tail.strip():
        parts.append(f"It printed last:\n{tail.strip()[-MAX_TAIL:]}")
    return "\n\n".join(part for part in parts if part)


def blocked(seconds: float, trace: str) -> str:
    """Return the error of an async task that kept its event loop from serving others past their time."""
    stack = user_stack(trace)
    below = f"\n\nIt was here (innermost call first):\n{stack}" if stack else ""
    return (
        f"Task blocked its event loop, {seconds:.1f}s after its start other tasks could not be ended in time; "
        f"await what takes long, move it to asyncio.to_thread(), or give the step executor='process'{below}"
    )


def describe(code: int | None) -> str:
    """Return how a process ended, in words."""
    if code is None:
        return "it closed its pipe, its exit status is not known"
    if code >= 0:
        return f"exited with code {code}"
    if code == -signal.SIGSEGV:
        return "segmentation fault (SIGSEGV)"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (possibly out of memory)" if code == -signal.SIGKILL else ""
    return f"killed by {name}{hint}"


def user_stack(trace: str) -> str:
    """Return the frames of the last stack that faulthandler wrote, without ours below the user's."""
    frames: list[str] = []
    for line in trace.splitlines():
        if line.endswith("(most recent call first):"):
            frames = []
        elif line.lstrip().startswith("File "):
            frames.append(line)
    ours = next((i for i, line in enumerate(frames) if any(part in line for part in _OURS)), len(frames))
    return "\n".join(frames[:ours] or frames)[:MAX_TRACE]
