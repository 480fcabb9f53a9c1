"""Write the reference of hooks in docs/hooks.md from their specifications.

    python ci/hooks_page.py            write it
    python ci/hooks_page.py --check    only compare; exit with 1 when it is not what the specifications say

The specifications, `pgflow_mp.hooks.specs`, are the source: signatures and docstrings become the part of the page below
the line that says so. What is above is written by hand.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

from pgflow_mp.hooks import events, specs

PAGE = Path(__file__).parent.parent / "docs" / "hooks.md"
LINE = "<!-- Below: written by ci/hooks_page.py from pgflow_mp/hooks/specs.py; change that and run it again. -->\n"

LONGEST_LINE = 120  # as the formatter has it, which formats what is in documents too
_WRAPPER = "@hookimpl(wrapper=True)\n"


def page(text: str) -> str:
    """Return the page with the reference as it should be."""
    written, line, _ = text.partition(LINE)
    if not line:
        raise SystemExit(f"{PAGE.name} has no line `{LINE.strip()}`")
    return written + LINE + reference()


def reference() -> str:
    """Return the reference: the hooks by the headings that the specifications have, then the records that they get."""
    source = inspect.getsource(specs)
    parts = ["\n## Reference\n"]
    found = re.finditer(r"^# (?P<heading>[A-Z][^\n]*)\n\n\n@|^def (?P<hook>pgflow_\w+)\(", source, re.MULTILINE)
    parts += [f"\n### {match['heading']}\n" if match["heading"] else _hook(match["hook"]) for match in found]
    parts += ["\n### What hooks get\n", *(_record(record) for record in _records())]
    return "".join(parts)


def signature(hook: str) -> str:
    """Return a hook's line of Python as the page has it."""
    spec = getattr(specs, hook)
    parameters = [str(each).replace("'", "") for each in inspect.signature(spec).parameters.values()]
    returned = str(inspect.signature(spec).return_annotation).replace("'", "")
    one = f"def {hook}({', '.join(parameters)}) -> {returned}: ..."
    if len(one) <= LONGEST_LINE:
        return one
    return f"def {hook}(\n" + "".join(f"    {each},\n" for each in parameters) + f") -> {returned}: ..."


def _hook(hook: str) -> str:
    marker = _WRAPPER if hook == "pgflow_call_handler" else ""
    return f"\n#### {hook}\n\n```python\n{marker}{signature(hook)}\n```\n\n{_prose(getattr(specs, hook))}"


def _records() -> list[type]:
    return [each for each in vars(events).values() if isinstance(each, type) and each.__module__ == events.__name__]


def _record(record: type) -> str:
    return f"\n#### {record.__name__}\n\n{_prose(record)}"


def _prose(documented: object) -> str:
    """Turn a docstring in Google style into Markdown."""
    text = inspect.getdoc(documented) or ""
    text, _, returns = text.partition("\nReturns:\n")
    text, *sections = re.split(r"\n(?:Args|Attributes):\n", text)
    for section in sections:
        items = re.split(r"\n(?=\S)", inspect.cleandoc(section))
        text += "\n" + "".join(_item(item) for item in items)
    if returns:
        text += f"\nReturns: {' '.join(returns.split())}\n"
    return text.strip() + "\n"


def _item(item: str) -> str:
    return "- " + re.sub(r"^(\w+):", r"`\1`:", " ".join(item.split())) + "\n"


def main(arguments: list[str]) -> int:
    """Write or compare."""
    found = PAGE.read_text(encoding="utf-8")
    wanted = page(found)
    if "--check" not in arguments:
        PAGE.write_text(wanted, encoding="utf-8")
    elif found != wanted:
        print(f"{PAGE} is not what the specifications say: run python ci/hooks_page.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
