"""A small shop's queues and tasks. An application of your own looks like this file: queues first, then functions.

The worker processes learn from their environment where mails go, where files are written, and how much shorter than
in earnest the windows of the limits are.
"""

from __future__ import annotations

import os
import smtplib
from email.message import EmailMessage
from pathlib import Path
from time import monotonic

from fpdf import FPDF
from PIL import Image, ImageDraw

import pgq
from pgq.demo.post import post

app = pgq.App("pgq.demo.app:app")

SPEED = float(os.environ.get("PGQ_DEMO_SPEED", "1"))

email = app.queue(
    "email",
    concurrency=5,
    rate_limit=pgq.Rate(100, per=60 / SPEED),
    timeout=30,
    max_attempts=3,
    backoff=pgq.Exponential(5),
)
pdf = app.queue("pdf", concurrency=3, timeout=120, max_attempts=2, backoff=pgq.Fixed(10))
webhooks = app.queue(
    "webhooks",
    concurrency=10,
    rate_limit=pgq.Rate(50, per=10 / SPEED),
    timeout=15,
    max_attempts=5,
    backoff=pgq.Exponential(1),
)
images = app.queue("images", concurrency=4, timeout=60, max_attempts=2, backoff=pgq.Fixed(5))

SMTP_PORT = int(os.environ.get("PGQ_DEMO_SMTP_PORT", "25"))
FOLDER = Path(os.environ.get("PGQ_DEMO_FOLDER", "."))
PHOTO = (800, 600)
THUMBNAIL = (320, 240)


class WebhookRefused(Exception):  # noqa: N818 - reads as what happened
    """The customer's server did not accept the event; raising anything at all makes pgq try again later."""


@email.task
def send_email(order: int, to: str, subject: str) -> None:
    """Send one mail. A plain function: it runs in a thread."""
    began = monotonic()
    mail = EmailMessage()
    mail["From"] = "shop@example.org"
    mail["To"] = to
    mail["Subject"] = subject
    mail["X-Order"] = str(order)
    mail["X-Attempt"] = str(pgq.context().attempt)
    mail["X-Began"] = str(began)  # by which the demo tells whether the limit held; no shop needs it
    mail.set_content(f"{subject}\n\nThis is about your order {order}.\n")
    with smtplib.SMTP("127.0.0.1", SMTP_PORT, local_hostname="localhost", timeout=10) as server:
        server.send_message(mail)


@webhooks.task
async def deliver_webhook(order: int, url: str) -> None:
    """Tell the customer's server about an order. A coroutine: it runs on the worker's event loop."""
    event = {"event": "order.placed", "order": order, "attempt": pgq.context().attempt, "began": monotonic()}
    status = await post(url, event)
    if status != 200:  # noqa: PLR2004 - HTTP's own number
        raise WebhookRefused(f"{url} answered {status}")


@pdf.task(process=True)
def write_invoice(order: int, customer: str, total: str) -> None:
    """Write an invoice as PDF. Heavy or unruly work: it runs in a child process, which is killed at the timeout."""
    page = FPDF()
    page.add_page()
    page.set_font("helvetica", "B", 20)
    page.cell(text=f"Invoice for order {order}", new_x="LMARGIN", new_y="NEXT")
    page.set_font("helvetica", size=11)
    for line in (f"Customer: {customer}", f"Total: {total} EUR", "Payable within 14 days. Thank you!"):
        page.cell(h=10, text=line, new_x="LMARGIN", new_y="NEXT")
    finished(invoice_path(FOLDER, order), bytes(page.output()))


@images.task
def make_thumbnail(order: int) -> None:
    """Draw a product photo and scale it down. A plain function: it runs in a thread."""
    photo = Image.new("RGB", PHOTO, (order * 37 % 256, order * 91 % 256, 160))
    ImageDraw.Draw(photo).ellipse((200, 100, 600, 500), fill=(250, 240, 220), outline="black", width=6)
    part = thumbnail_path(FOLDER, order).with_suffix(".part")
    photo.resize(THUMBNAIL, Image.Resampling.LANCZOS).save(part, "PNG")
    part.rename(thumbnail_path(FOLDER, order))


def invoice_path(folder: Path, order: int) -> Path:
    """Return where an order's invoice is written."""
    return folder / f"invoice-{order}.pdf"


def thumbnail_path(folder: Path, order: int) -> Path:
    """Return where an order's thumbnail is written."""
    return folder / f"thumbnail-{order}.png"


def finished(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, wherever this process is killed."""
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.rename(path)
