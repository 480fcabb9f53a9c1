"""A plugin that writes down all that observers are told."""

from __future__ import annotations

import inspect
import threading
from typing import Any

from pgflow_mp.hooks import specs


class Recorder:
    """Has every observer hook; keeps (hook, arguments) in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.threads: set[int] = set()

    def note(self, hook: str, event: dict[str, Any]) -> None:
        self.threads.add(threading.get_ident())
        self.events.append((hook, event))

    def names(self, *wanted: str) -> list[str]:
        """The hooks that were told, without their prefix; of these only, if any are named."""
        return [hook.removeprefix("pgflow_") for hook, _ in self.events if not wanted or hook in wanted]

    def of(self, hook: str) -> list[dict[str, Any]]:
        return [event for name, event in self.events if name == f"pgflow_{hook}"]

    def of_run(self, run_id: Any) -> list[str]:
        """What was told of one run: hook, step and attempt."""
        found = []
        for hook, event in self.events:
            subject = event.get("task") or event.get("step") or event.get("run")
            if subject is not None and str(subject.run_id) == str(run_id):
                words = [hook.removeprefix("pgflow_"), getattr(subject, "step_slug", "")]
                words += [str(subject.attempt)] if "task" in event else []
                found.append(" ".join(word for word in words if word))
        return found


def _recording(hook: str) -> Any:
    names = list(inspect.signature(getattr(specs, hook)).parameters)
    source = f"def {hook}(self, {', '.join(names)}): self.note({hook!r}, dict({', '.join(f'{n}={n}' for n in names)}))"
    made: dict[str, Any] = {}
    exec(source, made)
    return made[hook]


for _hook in specs.OBSERVERS:
    setattr(Recorder, _hook, _recording(_hook))
