"""The made-up people who can sign in, of two made-up customers. A real host has a database here."""

from dataclasses import dataclass, field

from kombo_embed import EndUser


@dataclass(frozen=True, slots=True)
class Organization:
    """A customer of the demo's product; ``id`` is the origin id of all its integrations."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Person:
    """A person who works at a customer."""

    id: str
    name: str
    role: str
    email: str = field(repr=False)
    organization: Organization

    @property
    def end_user(self) -> EndUser:
        """Return the person as kombo-embed's end user."""
        return EndUser(
            email=self.email, organization_name=self.organization.name, origin_id=self.organization.id
        )


NORTHWIND = Organization("org_northwind", "Northwind Coffee")
BLUEFJORD = Organization("org_bluefjord", "Bluefjord Health")
ORGANIZATIONS = (NORTHWIND, BLUEFJORD)
PEOPLE = {
    person.id: person
    for person in (
        Person("ada", "Ada Lovelace", "People lead", "ada@northwind.example.com", NORTHWIND),
        Person("grace", "Grace Harper", "IT lead", "grace@northwind.example.com", NORTHWIND),
        Person("margaret", "Margaret Hamlin", "HR director", "margaret@bluefjord.example.org", BLUEFJORD),
    )
}


def name_of(email: object) -> str | None:
    """Return the name of the person with this email address, or None."""
    return next((person.name for person in PEOPLE.values() if person.email == email), None)
