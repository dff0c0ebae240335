"""Write every dashboard in both languages: python -m dashboards."""

from __future__ import annotations

from pathlib import Path

from dashboards.boards import build_all

FOLDER = Path(__file__).parent / "json"


def main() -> None:
    """Over those that are there; what is no dashboard any more goes."""
    made = build_all()
    for file in FOLDER.glob("*/*.json"):
        if str(file.relative_to(FOLDER)) not in made:
            file.unlink()
    for name, text in made.items():
        file = FOLDER / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    print(f"{FOLDER}: {len(made)} dashboards")


if __name__ == "__main__":
    main()
