"""The verdict: what the servers and the disk say, against the orders that were committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import Image

from pgq.demo.app import THUMBNAIL, invoice_path, thumbnail_path, webhooks
from pgq.demo.counts import DeadLetter
from pgq.demo.delivery import Delivery
from pgq.demo.orders import Order, has_papers
from pgq.demo.web import CLOSED


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that was found: orders in the database, deliveries at the servers, dead letters, files."""

    orders: Sequence[Order]
    mails: Sequence[Delivery]
    hooks: Sequence[Delivery]
    dead: Sequence[DeadLetter]
    folder: Path


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence for each part of an order that was not served, served without an order, or served again."""

    lost: list[str]
    unexpected: list[str]
    duplicated: list[str]

    @property
    def good(self) -> bool:
        """Nothing lost and nothing unexpected; something delivered twice is allowed where a worker was killed."""
        return not self.lost and not self.unexpected


def verdict(evidence: Evidence) -> Verdict:
    """Weigh the evidence."""
    return Verdict(list(_lost(evidence)), list(_unexpected(evidence)), list(_duplicated(evidence)))


def delays(hooks: Iterable[Delivery], order: int) -> list[float]:
    """Return the seconds between one attempt to deliver an order's webhook and the next."""
    times = sorted(hook.at for hook in hooks if hook.order == order)
    return [later - earlier for earlier, later in pairwise(times)]


def _lost(evidence: Evidence) -> Iterator[str]:
    mailed = _accepted(evidence.mails)
    hooked = _accepted(evidence.hooks)
    for order in evidence.orders:
        if not mailed[order.id]:
            yield f"order {order.id}: its mail was not received"
        if order.customer == CLOSED:
            yield from _not_buried(evidence, order.id)
        elif not hooked[order.id]:
            yield f"order {order.id}: its webhook was not delivered"
        if has_papers(order.id):
            yield from _papers_missing(evidence.folder, order.id)
    yield from _given_up(evidence)


def _papers_missing(folder: Path, order: int) -> Iterator[str]:
    if not _is_pdf(invoice_path(folder, order)):
        yield f"order {order}: its invoice is no PDF"
    if not _is_thumbnail(thumbnail_path(folder, order)):
        yield f"order {order}: its thumbnail is no image of {THUMBNAIL[0]} x {THUMBNAIL[1]}"


def _given_up(evidence: Evidence) -> Iterator[str]:
    closed = {order.id for order in evidence.orders if order.customer == CLOSED}
    for dead in evidence.dead:
        if dead.queue != "webhooks" or dead.order not in closed:
            yield f"order {dead.order}: a task of queue {dead.queue} was given up: {dead.error}"


def _not_buried(evidence: Evidence, order: int) -> Iterator[str]:
    """Yield what is wrong with the webhook of a closed customer; it must be dead, and have had all its attempts."""
    letter = next((dead for dead in evidence.dead if dead.queue == "webhooks" and dead.order == order), None)
    promised = [webhooks.settings.retry_delay(n) for n in range(1, webhooks.settings.max_attempts)]
    if letter is None:
        yield f"order {order}: its webhook can never be delivered, and is no dead letter"
    elif letter.attempts != len(promised) + 1:
        yield f"order {order}: its webhook died after {letter.attempts} attempts instead of {len(promised) + 1}"
    elif not letter.crashes:  # a killed worker takes its attempt with it, and the next one follows at once
        waited = delays(evidence.hooks, order)
        if len(waited) != len(promised) or any(map(_too_early, waited, promised)):
            yield f"order {order}: its webhook was tried after {waited} s instead of {promised} s"


def _too_early(waited: float, promised: float) -> bool:
    return waited < promised * 0.9  # the server's clock may have been set meanwhile


def _unexpected(evidence: Evidence) -> Iterator[str]:
    known = {order.id for order in evidence.orders}
    papers = filter(has_papers, known)
    for what, served in (("mail", evidence.mails), ("webhook", evidence.hooks)):
        for order in sorted({delivery.order for delivery in served} - known):
            yield f"order {order} does not exist, and yet its {what} was sent"
    expected = {path(evidence.folder, order) for order in papers for path in (invoice_path, thumbnail_path)}
    for pattern in ("invoice-*.pdf", "thumbnail-*.png"):
        for file in sorted(set(evidence.folder.glob(pattern)) - expected):
            yield f"{file.name} was made for an order that does not exist or needs none"


def _duplicated(evidence: Evidence) -> Iterator[str]:
    for what, served in (("mail", evidence.mails), ("webhook", evidence.hooks)):
        for order, times in sorted(_accepted(served).items()):
            if times > 1:
                yield f"order {order}: its {what} was delivered {times} times"


def _accepted(served: Iterable[Delivery]) -> Counter[int]:
    return Counter(delivery.order for delivery in served if delivery.accepted)


def _is_pdf(path: Path) -> bool:
    return path.exists() and path.read_bytes().startswith(b"%PDF")


def _is_thumbnail(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.load()
            return image.size == THUMBNAIL
    except OSError:
        return False
