"""The identifiers that states give people: their forms, their checks, the words beside them.

A form is written with `9` for a digit and `A` for a letter; the rest stands for itself. With `?`
at its end it counts only where one of the words is near: many other numbers look like it. Without
it counts anywhere, because hardly any other text of that form passes the check, which
`tests/unit/test_pii_national.py` holds every form to.

Documents without a check digit that their holder can read (passports, most identity cards) are not
here; what could be said of them is as true of an order number.
"""

from dataclasses import dataclass

from interlock.runtime.privacy.national_checks import (
    Check,
    belgian_register,
    danish_cpr,
    french_nir,
    hong_kong_id,
    medicare,
    nino,
    norwegian_birth_number,
    singapore_nric,
    stdnum,
)


@dataclass(frozen=True, slots=True)
class NationalId:
    """One identifier of one country (ISO 3166-1).

    `words` is a regular expression for whole words, case ignored.
    """

    country: str
    name: str
    check: Check
    forms: tuple[str, ...]
    words: str
    kind: str = "NATIONAL_ID"


_NINE = ("999999999?", "999 999 999?", "999-999-999?")
_TEN = ("9999999999?",)
_ELEVEN = ("99999999999?",)
_TWELVE = ("9999 9999 9999?", "9999-9999-9999?", "999999999999?")

NATIONAL_IDS: tuple[NationalId, ...] = (
    NationalId("AR", "CUIT, CUIL", stdnum("ar.cuit"), ("99-99999999-9", *_ELEVEN), "cui[tl]"),
    NationalId(
        "AT",
        "Sozialversicherungsnummer",
        stdnum("at.vnr"),
        ("9999 999999?", *_TEN),
        r"sv-?nr|sozialvers\w*|versicherungsnummer",
    ),
    NationalId("AU", "Medicare number", medicare, ("9999 99999 9?", *_TEN), "medicare"),
    NationalId("AU", "TFN", stdnum("au.tfn"), _NINE, "tfn|tax file number"),
    NationalId(
        "BE",
        "national register number",
        belgian_register,
        ("99.99.99-999.99", *_ELEVEN),
        r"rijksregister\w*|registre national|national register|niss|insz",
    ),
    NationalId("BG", "ЕГН", stdnum("bg.egn"), _TEN, "егн|egn"),
    NationalId("BR", "CNPJ", stdnum("br.cnpj"), ("99.999.999/9999-99", "99999999999999?"), "cnpj"),
    NationalId("BR", "CPF", stdnum("br.cpf"), ("999.999.999-99", *_ELEVEN), "cpf"),
    NationalId(
        "CA", "SIN", stdnum("ca.sin"), _NINE, "(?-i:SIN|NAS)|social insurance|assurance sociale"
    ),
    NationalId(
        "CH", "AHV, AVS", stdnum("ch.ssn"), ("999.9999.9999.99", "9999999999999"), "ahv|avs|oasi"
    ),
    NationalId(
        "CL",
        "RUT",
        stdnum("cl.rut"),
        ("99.999.999-9?", "9.999.999-9?", "99999999-9?", "99.999.999-A", "99999999-A"),
        "(?-i:RUT|RUN)|rol único",
    ),
    NationalId(
        "CN",
        "居民身份证",
        stdnum("cn.ric"),
        ("999999999999999999", "99999999999999999A"),
        r"\w*身份证\w*",
    ),
    NationalId(
        "CZ",
        "rodné číslo",
        stdnum("cz.rc"),
        ("999999/9999", "999999/999?", *_TEN),
        "rodn[ée] [čc][íi]slo|rč",
    ),
    NationalId(
        "DE",
        "Steuer-ID",
        stdnum("de.idnr"),
        ("99 999 999 999", *_ELEVEN),
        r"steuer\w*|identifikationsnummer|idnr",
    ),
    NationalId("DK", "CPR", danish_cpr, ("999999-9999", *_TEN), "cpr|personnummer"),
    NationalId("DO", "cédula", stdnum("do.cedula"), ("999-9999999-9?", *_ELEVEN), "c[eé]dula"),
    NationalId("EC", "cédula", stdnum("ec.ci"), ("999999999-9?", *_TEN), "c[eé]dula"),
    NationalId("EE", "isikukood", stdnum("ee.ik"), _ELEVEN, "isikukood|personal code"),
    NationalId(
        "ES", "DNI", stdnum("es.dni"), ("99999999A", "99999999-A", "99.999.999-A"), "dni|nif"
    ),
    NationalId(
        "ES",
        "NIE",
        stdnum("es.nie"),
        ("A9999999A", "A-9999999-A", "A-9999999A", "A9999999-A"),
        "nie",
    ),
    NationalId(
        "FI",
        "henkilötunnus",
        stdnum("fi.hetu", keeps="-+"),
        ("999999-999A", "999999-9999", "999999+999A", "999999+9999", "999999A999A", "999999A9999"),
        r"hetu\w*|henkilötun\w*|personbeteckning",
    ),
    NationalId(
        "FR",
        "NIR",
        french_nir,
        (
            "9 99 99 99 999 999 99",
            "9 99 99 9A 999 999 99",
            "999999999999999",
            "999999A99999999",
        ),
        "nir|insee|sécurité sociale|securite sociale",
    ),
    NationalId(
        "GB",
        "NHS number",
        stdnum("gb.nhs"),
        ("999 999 9999?", "999-999-9999?", *_TEN),
        "nhs|chi number",
    ),
    NationalId(
        "GB",
        "National Insurance number",
        nino,
        ("AA999999A?", "AA 99 99 99 A?", "AA 999999 A?", "AA-99-99-99-A?"),
        "nino|(?-i:NI)|national insurance|insurance number",
    ),
    NationalId("GB", "UTR", stdnum("gb.utr"), ("9999999999?", "99999 99999?"), "utr|taxpayer"),
    NationalId("GR", "ΑΜΚΑ", stdnum("gr.amka"), _ELEVEN, "αμκα|amka"),
    NationalId(
        "HK",
        "HKID",
        hong_kong_id,
        ("A999999(9)?", "A999999(A)?", "AA999999(9)?", "AA999999(A)?"),
        r"hkid|hong kong id\w*|\w*身[份分]證\w*",
    ),
    NationalId("HR", "OIB", stdnum("hr.oib"), _ELEVEN, "oib"),
    NationalId("IE", "PPS number", stdnum("ie.pps"), ("9999999A", "9999999AA"), "pps"),
    NationalId(
        "IL",
        "Teudat Zehut",
        stdnum("il.idnr"),
        ("999999999?", "99999999-9?"),
        r"\w?תעודת זהות|zehut|israeli id",
    ),
    NationalId("IN", "Aadhaar", stdnum("in_.aadhaar"), _TWELVE, "aadha+r|आधार|uidai"),
    NationalId(
        "IN",
        "PAN",
        stdnum("in_.pan"),
        ("AAAAA9999A?",),
        "(?-i:PAN)|pan card|permanent account|income tax",
    ),
    NationalId("IS", "kennitala", stdnum("is_.kennitala"), ("999999-9999", *_TEN), "kennitala"),
    NationalId(
        "IT",
        "codice fiscale",
        stdnum("it.codicefiscale"),
        ("AAAAAA99A99A999A", "AAAAAA99A99A99AA"),
        "codice fiscale",
    ),
    NationalId(
        "JP",
        "マイナンバー",
        stdnum("jp.in_"),
        _TWELVE,
        r"\w*(?:マイナンバー|個人番号)\w*|my number card",
    ),
    NationalId(
        "KR",
        "RRN",
        stdnum("kr.rrn"),
        ("999999-9999999", "9999999999999?"),
        r"\w*주민등록\w*|resident registration|rrn",
    ),
    NationalId("LT", "asmens kodas", stdnum("lt.asmens"), _ELEVEN, r"asmens kod\w*|personal code"),
    NationalId(
        "LV",
        "personas kods",
        stdnum("lv.pvn"),
        ("999999-99999?", *_ELEVEN),
        r"personas kod\w*|personal code",
    ),
    NationalId(
        "MX", "CURP", stdnum("mx.curp"), ("AAAA999999AAAAAA99", "AAAA999999AAAAAAA9"), "curp"
    ),
    NationalId(
        "MY",
        "NRIC",
        stdnum("my.nric"),
        ("999999-99-9999", "999999999999?"),
        "nric|mykad|kad pengenalan",
    ),
    NationalId(
        "NL",
        "BSN",
        stdnum("nl.bsn"),
        ("999999999?", "9999.99.999?"),
        r"bsn|burgerservice\w*|sofi\w*",
    ),
    NationalId(
        "NO",
        "fødselsnummer",
        norwegian_birth_number,
        ("999999 99999", "99999999999"),
        r"fødsels\w*",
    ),
    NationalId(
        "NZ",
        "IRD number",
        stdnum("nz.ird"),
        ("99-999-999?", "99999999?", *_NINE),
        "(?-i:IRD)|inland revenue",
    ),
    NationalId(
        "PK", "CNIC", stdnum("pk.cnic"), ("99999-9999999-9?", "9999999999999?"), "cnic|nadra|شناختی"
    ),
    NationalId("PL", "PESEL", stdnum("pl.pesel"), _ELEVEN, "pesel"),
    NationalId("PT", "NIF", stdnum("pt.nif"), _NINE, "(?-i:NIF)|contribuinte|fiscal"),
    NationalId("RO", "CNP", stdnum("ro.cnp"), ("9999999999999?",), "cnp|cod numeric personal"),
    NationalId(
        "SE",
        "personnummer",
        stdnum("se.personnummer", keeps="-+"),
        ("999999-9999", "999999+9999", "99999999-9999", "999999999999", *_TEN),
        "personnummer",
    ),
    NationalId("SG", "NRIC, FIN", singapore_nric, ("A9999999A",), "nric|fin number"),
    NationalId("SI", "EMŠO, JMBG", stdnum("si.emso"), ("9999999999999?",), "em[šs]o|jmbg|јмбг"),
    NationalId(
        "TH",
        "เลขประจำตัวประชาชน",
        stdnum("th.pin"),
        ("9-9999-99999-99-9?", "9999999999999?"),
        r"\S*ประชาชน\S*|thai id",
    ),
    NationalId("TR", "TCKN", stdnum("tr.tckimlik"), _ELEVEN, "kimlik|tckn"),
    NationalId("UA", "РНОКПП", stdnum("ua.rntrc"), _TEN, "рнокпп|[іи]пн|rntrc"),
    NationalId("US", "ITIN", stdnum("us.itin"), ("999999999?", "999 99 9999?"), "itin"),
    NationalId(
        "US",
        "SSN",
        stdnum("us.ssn"),
        ("999999999?", "999 99 9999?"),
        "ssn",
        kind="SSN",
    ),
    NationalId(
        "ZA",
        "ID number",
        stdnum("za.idnr"),
        ("9999999999999", "999999 9999 999", "999999 9999 99 9"),
        "rsa id|sa id",
    ),
)
"""By country. The docs list them: `docs/how-to/keep-personal-data-in.md`."""

ANY_COUNTRY = (
    r"national[- ]?(?:id|identity|identification|insurance)|national number|id[- ]card|"
    r"identity[- ](?:card|number|document)|(?:personal|citizen)[- ](?:id|identity|number)|"
    r"identification[- ](?:number|no)|tax(?:payer)?[- ](?:id|identification|number|no)|"
    r"social[- ](?:security|insurance)|documento de identidad|carte d'identité|\w*ausweis\w*"
)
"""Words that go with an identifier of any country."""
