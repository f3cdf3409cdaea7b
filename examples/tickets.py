"""Support tickets of our own making, and the routing they deserve: the data of the ticket-routing example.

Everything is generated from the word lists below with a seed, so there is nothing to download, nothing to license and nobody's mail in it.
The hard field is ``escalate``: it joins the urgency in the text with the customer's plan or the kind of trouble.

    python -m examples.tickets --rows 300 --seed 7 > tickets.jsonl
"""

import argparse
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CATEGORIES = ("billing", "shipping", "technical", "account", "returns", "security")
PRIORITIES = ("low", "normal", "high", "urgent")
PLANS = ("free", "plus", "enterprise")
SYSTEM = "You route support tickets. Answer with one JSON object with the keys category, priority, escalate."

PRODUCTS = (
    "router", "thermostat", "espresso machine", "e-bike", "headset", "door lock",
    "tablet", "solar inverter", "dishwasher", "camera", "smart meter", "laptop dock",
)  # fmt: skip
NAMES = (
    "Ana", "Bo", "Chen", "Dara", "Eli", "Fatima", "Goran", "Hana", "Ines", "Jonas",
    "Kofi", "Lena", "Marek", "Nadia", "Oskar", "Priya", "Quinn", "Rosa", "Sven", "Tariq",
)  # fmt: skip
CITIES = ("Lyon", "Oslo", "Porto", "Gdansk", "Turin", "Leeds", "Ghent", "Malmo", "Brno", "Bilbao")
OPENERS = ("Hello,", "Hi team,", "Good morning,", "Dear support,", "Hey,", "To whom it may concern,")
ASIDES = (
    "I bought it in {city} last month.",
    "My order number is {number}{number}.",
    "I have used your shop for {number} years.",
    "My neighbour {name} has the same model.",
    "I already read the manual.",
    "It was a gift from {name}.",
    "Earlier everything worked well.",
    "I wrote to {name} about this before.",
)
ISSUES = {
    "billing": (
        "I was charged twice for the {product}",
        "the invoice for my {product} shows the wrong amount",
        "my card was billed {number} euros for the {product} although it was free",
        "the discount for the {product} is missing on the bill",
        "please explain the {number} euro fee on my statement",
        "the monthly price went up to {number} euros without notice",
    ),
    "shipping": (
        "my {product} has not arrived in {city}",
        "the parcel with the {product} is stuck in {city} for {number} days",
        "the courier left the {product} at a wrong address in {city}",
        "tracking for the {product} stopped {number} days ago",
        "when will the {product} be delivered to {city}",
        "the delivery date of my {product} changed {number} times",
    ),
    "technical": (
        "the {product} does not start after the update",
        "the {product} restarts every {number} minutes",
        "the {product} shows error code {number}",
        "the app cannot connect to the {product}",
        "the {product} overheats after {number} minutes",
        "firmware {number} broke the display of the {product}",
    ),
    "account": (
        "I cannot log in to manage my {product}",
        "please change the email address of my profile",
        "I forgot the password for the {product} portal",
        "please merge my {number} customer profiles",
        "the name on my profile is wrong",
        "my profile for the {product} was locked after {number} attempts",
    ),
    "returns": (
        "I want to send the {product} back",
        "how do I get a refund for the {product}",
        "the refund of {number} euros for the {product} is still missing",
        "please send a return label for the {product} to {city}",
        "I would like to exchange the {product} for another color",
        "the return of the {product} was rejected",
    ),
    "security": (
        "someone in {city} used my {product} without permission",
        "I got a phishing mail about the {product}",
        "unknown devices appeared on my {product}",
        "my data from the {product} was leaked online",
        "there was a suspicious sign-in from {city}",
        "a stranger opened my {product} remotely",
    ),
}
URGENCY = {
    "low": ("There is no rush.", "Whenever you have time is fine.", "This is only a minor thing.", "Just curious."),
    "normal": ("Please let me know.", "Thanks for your help.", "I look forward to your answer.", "Kind regards."),
    "high": (
        "I need this solved today.",
        "This is blocking my work.",
        "Please answer soon, it is important.",
        "I have been waiting for {number} days already.",
    ),
    "urgent": ("This is an emergency!", "Everything is down right now!", "Act immediately, please!", "We are losing money every minute!"),
}


@dataclass(frozen=True)
class Ticket:
    text: str
    category: str
    priority: str
    escalate: bool

    @property
    def routing(self) -> str:
        """The answer the model is to give."""
        return json.dumps({"category": self.category, "priority": self.priority, "escalate": self.escalate})

    def messages(self) -> list[dict[str, str]]:
        """The conversation to learn from."""
        return [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": self.text},
            {"role": "assistant", "content": self.routing},
        ]


def fill(template: str, rng: random.Random) -> str:
    """Put words into a template's places."""
    return template.format(product=rng.choice(PRODUCTS), name=rng.choice(NAMES), city=rng.choice(CITIES), number=rng.randint(2, 97))


def write_ticket(rng: random.Random) -> Ticket:
    """One ticket. It escalates if urgent, or if important for an enterprise customer or in a matter of security."""
    category, priority, plan = rng.choice(CATEGORIES), rng.choice(PRIORITIES), rng.choice(PLANS)
    parts = [rng.choice(OPENERS), fill(rng.choice(ISSUES[category]), rng) + "."]
    if rng.random() < 0.6:
        parts.append(fill(rng.choice(ASIDES), rng))
    parts.append(fill(rng.choice(URGENCY[priority]), rng))
    if rng.random() < 0.4:
        parts.append(rng.choice(NAMES))
    escalate = priority == "urgent" or (priority == "high" and (plan == "enterprise" or category == "security"))
    return Ticket(f"[{plan}] " + " ".join(parts), category, priority, escalate)


def tickets(seed: int) -> Iterator[Ticket]:
    """Endless tickets, no text twice; equal seeds give equal tickets."""
    rng, seen = random.Random(seed), set[str]()
    while True:
        ticket = write_ticket(rng)
        if ticket.text not in seen:
            seen.add(ticket.text)
            yield ticket


def rows(count: int, seed: int, skip: int = 0) -> list[dict[str, Any]]:
    """``count`` rows in the messages format; rows after ``skip`` of the same seed share no text with those before."""
    stream = tickets(seed)
    for _ in range(skip):
        next(stream)
    return [{"messages": next(stream).messages()} for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.tickets", description="Write tickets as JSON lines to standard output.")
    parser.add_argument("--rows", type=int, default=300, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="equal seeds give equal tickets (default: %(default)s)")
    parser.add_argument("--skip", type=int, default=0, help="leave out the first tickets of this seed: held-out rows of the same stream")
    options = parser.parse_args()
    for row in rows(options.rows, options.seed, options.skip):
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
