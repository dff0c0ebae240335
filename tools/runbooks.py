"""Writes the runbooks as the collector serves them (`make docs`): HTML of both languages, in one file of the package.

Markdown is made HTML here, with markup of its own left out, so that the collector needs no renderer and serves nothing
that could do anything.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from markdown_it import MarkdownIt

from dashboards.alerts import ALERTS

ROOT = Path(__file__).resolve().parent.parent
MADE = ROOT / "collector/haidang_collector/console/runbooks.json"
_SUMMARY = "## Tóm tắt"


def runbooks() -> str:
    """The file: alert → its titles, and the page in English and its summary in Vietnamese."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    pages = {}
    for file in sorted((ROOT / "docs/runbooks").glob("*.md")):
        text = file.read_text(encoding="utf-8").split("\n", 1)[1]
        english, _, vietnamese = text.partition(_SUMMARY)
        titles = ALERTS.get(file.stem, ("Watchdog", "Tín hiệu giám sát cảnh báo"))
        pages[file.stem] = {
            "title_en": titles[0], "title_vi": titles[1],
            "en": _plain(markdown.render(english)), "vi": _plain(markdown.render(vietnamese)),
        }  # fmt: skip
    return json.dumps(pages, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _plain(html: str) -> str:
    """Without links to what is not served; another runbook is."""
    html = re.sub(r'<a href="(?!(?:Haidang\w+)\.md")[^"]*">(.*?)</a>', r"\1", html)
    html = re.sub(r'<a href="(Haidang\w+)\.md">', r'<a href="/runbooks/\1">', html)
    return html.replace("<h2>", "<h3>").replace("</h2>", "</h3>")


if __name__ == "__main__":
    MADE.write_text(runbooks(), encoding="utf-8")
