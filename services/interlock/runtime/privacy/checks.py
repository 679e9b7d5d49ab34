"""Checksums that tell a number that means something from one that merely looks like it."""

from ipaddress import ip_address


def card(value: str) -> bool:
    """Luhn's check over 12 to 19 digits."""
    return 12 <= sum(c.isdecimal() for c in value) <= 19 and luhn(value)


def luhn(value: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1) over the digits, which are not all the same."""
    digits = [int(c) for c in value if c.isdecimal()]
    if len(set(digits)) < 2:
        return False
    doubled = [d if i % 2 == 0 else d * 2 - 9 * (d > 4) for i, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def iban(value: str) -> bool:
    """The check digits of ISO 13616: the rearranged number is 1 modulo 97."""
    compact = "".join(value.split())
    return mod97(compact[4:] + compact[:4])


def mod97(value: str) -> bool:
    """The check of ISO 7064 (MOD 97-10): digits, and letters as 10 to 35, are 1 modulo 97."""
    compact = "".join(value.split()).upper()
    if not compact or not compact.isascii() or not compact.isalnum():
        return False
    return int("".join(str(int(c, 36)) for c in compact)) % 97 == 1


def ssn(value: str) -> bool:
    """Numbers that the US Social Security Administration never issued are out."""
    area, group, serial = value.split("-")
    return area not in ("000", "666") and group != "00" and serial != "0000"


def ip(value: str) -> bool:
    """Whether it reads as an IPv4 or IPv6 address."""
    try:
        ip_address(value)
    except ValueError:
        return False
    return True


def few_digits(value: str) -> bool:
    """Whether it has as many digits as a telephone number has (7 to 15, ITU-T E.164)."""
    return 7 <= sum(c.isdigit() for c in value) <= 15
