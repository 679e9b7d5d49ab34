"""Small knowledge bases of three other domains, with questions as people ask them.

`want` is what an answer has to hold; None where the sources do not hold the answer and nothing
may be quoted. `not_want` must not be in it.
"""

from dataclasses import dataclass

HR = {
    "Annual leave": """Full-time employees have 28 days of paid leave a year. Part-time
employees have a share of that in proportion to their hours.

## Carrying leave over
Up to 5 unused days can be carried over to the next year and expire on 31 March. Leave that was
not taken is not paid out, except when you leave the company.

## Asking for leave
Ask for leave in the staff portal at least two weeks ahead. Your manager decides within 3
working days.""",
    "Sick leave": """Tell your manager before 9 am on the first day that you are ill. A doctor's
note is needed from the fourth day. Sick pay is your full salary for up to 6 weeks a
year.""",
    "Parental leave": """Each parent can take up to 12 months of parental leave. The first 16
weeks are paid in full. Hand in your request eight weeks before the leave begins.""",
    "Expenses": """Hand in receipts within 30 days of the expense. Meals on business trips are
refunded up to 40 euros a day. Alcohol is not refunded.

## Travel
Trains are booked in second class. Flights need the approval of your department head.""",
    "Working from home": """You can work from home on up to 3 days a week. The company pays 300
euros once for a desk or a chair. Working from abroad needs the written consent of HR.""",
}

MANUAL = {
    "Cleaning the dishwasher": """Clean the filter once a month under running water. Never use
steel wool on the filter. Run an empty programme at 70 degrees with a dishwasher cleaner
every three months.""",
    "Error codes": """| code | meaning | what to do |
| --- | --- | --- |
| E15 | water in the base | close the tap and call the service |
| E22 | the filter is blocked | clean the filter |
| E24 | the drain hose is kinked | straighten the hose |""",
    "Programmes": """The Eco programme takes 3 hours 40 minutes and uses 9.5 litres of water.
The Quick programme takes 29 minutes and is meant for lightly soiled dishes. Intensive runs
at 75 degrees.

## Delayed start
Hold the timer key for 3 seconds to choose a start up to 24 hours later.""",
    "Salt and rinse aid": """Refill the salt when the red lamp is on. Use coarse dishwasher salt
only; table salt damages the softener. The rinse aid lasts for about 40 washes.""",
    "Warranty and service": """The warranty is 2 years from the date of purchase. It does not
cover glass, lamps or damage by limescale. You can reach the service by phone on 0800 555
0199, Monday to Saturday.""",
}

API = {
    "Authentication": """Send your API key in the `Authorization` header as a bearer token. Keys
are created in the dashboard under Settings. A key that was revoked answers with 401.

## Rotating keys
Two keys can be active at the same time, so that you can rotate them without downtime.""",
    "Rate limits": """The free plan allows 60 requests a minute and the team plan 600. When the
limit is exceeded the API answers with 429 and a `Retry-After` header. Limits are counted
per key.""",
    "Pagination": """Lists are returned in pages of 50 items. Pass `limit` to get up to 200
items a page. To get the next page, pass the `cursor` of the last response.""",
    "Webhooks": """Webhooks are sent as POST requests with a JSON body. A webhook that is not
answered with a 2xx status is tried again up to 8 times over 24 hours. Verify the
`X-Signature` header with your webhook secret.""",
    "Errors": """Errors have a `code` and a `message`. A 409 means that the object was changed
in the meantime. A 5xx can be retried with the same idempotency key.""",
}


@dataclass(frozen=True)
class Asked:
    """One question and what a reader wants."""

    question: str
    want: str | None
    not_want: str = "\0"


QUESTIONS: dict[str, tuple[dict[str, str], tuple[Asked, ...]]] = {
    "hr": (
        HR,
        (
            Asked("How many vacation days do I get?", "28 days"),
            Asked("How many days of annual leave do I have?", "28 days"),
            Asked("Can I carry unused leave over to next year?", "Up to 5 unused days"),
            Asked("When do I need a doctor's note?", "from the fourth day"),
            Asked("What do I do when I am sick?", "before 9 am"),
            Asked("how long is parental leave", "12 months", "28 days"),
            Asked("How much can I spend on meals during a business trip?", "40 euros"),
            Asked("Is alcohol refunded?", "Alcohol is not refunded"),
            Asked("Do I need approval for a flight?", "department head"),
            Asked("Can I work from home?", "up to 3 days a week"),
            Asked("How far ahead do I have to ask for leave?", "two weeks ahead"),
            Asked("Does the company pay for a desk?", "300 euros"),
            Asked("What is the dress code?", None),
            Asked("How do I get a company car?", None),
            Asked("When is the next pay rise?", None),
            Asked("Can I bring my dog to work?", None),
            Asked("What is the CEO's salary?", None),
        ),
    ),
    "manual": (
        MANUAL,
        (
            Asked("How often do I have to clean the filter?", "once a month"),
            Asked("What does E22 mean?", "blocked", "kinked"),
            Asked("The display shows E15, what now?", "water in the base", "kinked"),
            Asked("How long does the quick programme take?", "29 minutes", "3 hours"),
            Asked("How long is the Eco programme?", "3 hours 40"),
            Asked("Can I use table salt?", "table salt damages"),
            Asked("When should I refill the salt?", "red lamp"),
            Asked("How long is the warranty?", "2 years"),
            Asked("Is limescale covered by the warranty?", "limescale"),
            Asked("How can I call the service?", "0800 555 0199"),
            Asked("What is the phone number of the service?", "0800 555 0199"),
            Asked("How do I start it later?", "timer key"),
            Asked("How much water does Eco use?", "9.5 litres"),
            Asked("How wide is the dishwasher?", None),
            Asked("Can I wash my dog in it?", None),
            Asked("What does E99 mean?", None),
            Asked("Does it have wifi?", None),
        ),
    ),
    "api": (
        API,
        (
            Asked("How do I authenticate?", "Authorization"),
            Asked("What is the rate limit of the free plan?", "60 requests"),
            Asked("What happens when I exceed the limit?", "429"),
            Asked("How do I get the next page?", "cursor"),
            Asked("How many items are on a page?", "50 items"),
            Asked("How often is a webhook retried?", "8 times"),
            Asked("How do I verify a webhook?", "X-Signature"),
            Asked("What does a 409 mean?", "changed in the meantime", "429"),
            Asked("Can I have two API keys?", "Two keys"),
            Asked("Where do I create a key?", "dashboard"),
            Asked("Is there a Python SDK?", None),
            Asked("How do I delete my account?", None),
            Asked("What does the enterprise plan cost?", None),
            Asked("Do you support GraphQL?", None),
        ),
    ),
}

SHOP = (
    Asked("How many days do I have to return something?", "within 60 days of delivery"),
    Asked("what does shipping cost", "Standard shipping costs $6.90"),
    Asked("Do you ship to Canada and how much is it?", "$18.00"),
    Asked("How do I contact you by phone", "503-555-0142"),
    Asked("What are your opening hours?", "between 8 am and 6 pm"),
    Asked("What payment methods do you take?", "We accept Visa"),
    Asked("my parcel arrived damaged what do i do", "Report a damaged parcel within 7 days"),
    Asked("My hose leaks after 4 years, is that covered?", "5-year warranty against leaks"),
    Asked("How long is the warranty on a cordless drill?", "3-year warranty"),
    Asked("What is the return policy for live plants?", "cannot be accepted"),
    Asked("do gift cards expire", "does not expire"),
    Asked("Is there a discount if I buy 15 rakes?", "15% discount"),
    Asked("Do points expire?", "24 months"),
    Asked("Can I return a used spade?", "within 14 days"),
    Asked("Can I cancel an order that has shipped?", "it cannot be cancelled"),
    Asked("Is shipping free?", "free for orders of $75.00"),
    Asked("Can I pay with Bitcoin?", None),
    Asked("who pays return shipping?", None),
    Asked("Do you ship to Mexico?", None),
    Asked("Do you have a job for me?", None),
    Asked("Which soil do tomatoes need?", None),
)
