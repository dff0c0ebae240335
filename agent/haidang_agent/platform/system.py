"""What only the operating system knows, behind one face: one small file an OS."""

from __future__ import annotations

import sys

if sys.platform == "linux":
    from haidang_agent.platform.linux import boot_id, boot_seconds, default_gateway, interface_kind
else:
    from haidang_agent.platform.other import boot_id, boot_seconds, default_gateway, interface_kind

__all__ = ["boot_id", "boot_seconds", "default_gateway", "interface_kind"]
