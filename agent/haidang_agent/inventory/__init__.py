"""What a machine is and has: read from the systems' own tools by a short-lived child process.

`python -m haidang_agent.inventory` prints the inventory as one JSON object, kind of fact → body; the source
`inventory` runs it, so that what reading takes is given back when it ends. Parsers take text and give plain
values; they never raise for what is missing, cut off or foreign: what can't be read is left out. A document has
no value that changes by itself from hour to hour, so that a machine that did not change sends nothing.
"""

from __future__ import annotations

KINDS = ("machine", "disks", "system", "software", "security", "displays", "printers", "logon")
