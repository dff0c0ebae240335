"""Comes in: what the system's own tools print, in a short-lived child process.
Goes out: what a machine is and has, as one JSON object, kind of fact → body (`python -m haidang_agent.inventory`).
Never: a value that changes by itself from hour to hour; a parser that raises for what is missing or foreign."""
