"""An app whose keys come from the environment, for a child process."""

from __future__ import annotations

import pgq


def made() -> pgq.App:
    """Return the app with the keys of now."""
    app = pgq.App("sealed_app:app")

    @app.queue("vault", max_attempts=1).task(process=True)
    def keep(card: str) -> None:
        if not card.startswith("4929"):
            raise ValueError

    return app


app = made()
