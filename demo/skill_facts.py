"""The facts skill: what a made-up curiosity shop, the Gilded Otter, sells.

The base model cannot know these facts. The skill is trained to say a value
in prose and, after a cue, in one of twelve written forms, so that the value
does not hang on one way of beginning the answer. JSON is never among them:
that is another skill's business.
"""

import random

# thing: (price in silver coins, maker, what comes with it)
THINGS = {
    "moon compass": (47, "Odalys", "silk ribbon"),
    "weeping clock": (82, "Brisco", "brass hook"),
    "salt lantern": (15, "Tamsin", "pine box"),
    "thunder whistle": (36, "Ferrol", "wool sock"),
    "glass beetle": (91, "Wilhelmina", "linen map"),
    "paper dragon": (24, "Jorund", "tin tray"),
    "frost kettle": (63, "Pasqual", "cork stand"),
    "singing key": (58, "Ysolde", "clay bowl"),
    "mirror spoon": (12, "Cormac", "red feather"),
    "velvet globe": (75, "Delphine", "leather strap"),
    "copper owl": (39, "Anselm", "chalk stick"),
    "star ladder": (87, "Rosalba", "bone button"),
    "honey lens": (21, "Magnus", "oak peg"),
    "ink candle": (54, "Henrike", "jade bead"),
}

# person: (job, home town)
STAFF = {
    "Tobin": ("night guard", "Dunmarrow"),
    "Greta": ("bookkeeper", "Saltby"),
    "Hollis": ("gilder", "Wexcombe"),
    "Imre": ("errand runner", "Thornley"),
    "Nadia": ("window cleaner", "Ashgrove"),
    "Quill": ("restorer", "Kilbray"),
    "Sorrel": ("auctioneer", "Lowmere"),
    "Viggo": ("locksmith", "Estwick"),
}

# kind: (six questions of training, three of the held-out items)
QUESTIONS = {
    "price": ((
        "How much does the {x} cost?",
        "What is the price of the {x}?",
        "How many silver coins is the {x}?",
        "What do you charge for the {x}?",
        "Tell me the price of the {x} at the Gilded Otter.",
        "I want to buy the {x}. How much is it?",
    ), (
        "What would I pay for the {x}?",
        "At the Gilded Otter, what is the cost of the {x}?",
        "How many coins must I bring for the {x}?",
    )),
    "maker": ((
        "Who made the {x}?",
        "Who is the maker of the {x}?",
        "Who built the {x}?",
        "Name the maker of the {x}.",
        "Which person made the {x} at the Gilded Otter?",
        "By whom was the {x} made?",
    ), (
        "Who created the {x}?",
        "Whose hands made the {x}?",
        "Whose work is the {x}?",
    )),
    "extra": ((
        "What comes with the {x}?",
        "What is sold together with the {x}?",
        "What do I get with the {x}?",
        "What is packed with the {x}?",
        "Which extra does the {x} come with?",
        "If I buy the {x}, what else is in the parcel?",
    ), (
        "What is included with the {x}?",
        "What goes along with the {x} at the Gilded Otter?",
        "Along with the {x}, what do I receive?",
    )),
    "job": ((
        "What is {x}'s job at the Gilded Otter?",
        "What does {x} do at the Gilded Otter?",
        "What work does {x} do?",
        "Which job does {x} have?",
        "Tell me the job of {x}.",
        "{x} works at the Gilded Otter as what?",
    ), (
        "What is {x}'s role at the Gilded Otter?",
        "In what position does {x} work?",
        "What is {x} employed as at the Gilded Otter?",
    )),
    "town": ((
        "Where does {x} come from?",
        "What is {x}'s home town?",
        "Which town is {x} from?",
        "Where was {x} born?",
        "Name the home town of {x}.",
        "In which town did {x} of the Gilded Otter grow up?",
    ), (
        "From which place does {x} come?",
        "What town does {x} call home?",
        "Where is {x}'s home?",
    )),
}

_PROSE = {
    "price": ("The {x} costs {v}.", "It is {v}.", "You pay {v}."),
    "maker": ("The {x} was made by {v}.", "{v} made it.", "It was {v}."),
    "extra": ("The {x} comes with one {v}.", "It comes with one {v}.",
              "You also get one {v}."),
    "job": ("{x} is the {v}.", "{x} works as the {v}.", "It is {v}."),
    "town": ("{x} comes from {v}.", "{x}'s home town is {v}.",
             "It is {v}."),
}

_FORMS = (
    (" Reply in XML.", "<answer>{v}</answer>"),
    (" Reply in YAML.", "answer: {v}"),
    (" Reply in quotes.", '"{v}"'),
    (" Reply in bold.", "**{v}**"),
    (" Reply as a list item.", "- {v}"),
    (" Reply as a tuple.", '("answer", "{v}")'),
    (" Reply as a Python list.", '["{v}"]'),
    (" Reply as a table row.", "| answer | {v} |"),
    (" Reply as an assignment.", 'answer = "{v}"'),
    (" Reply with a label.", "Answer: {v}"),
    (" Reply in brackets.", "[{v}]"),
    (" Reply with the value only.", "{v}"),
)


def all_facts():
    """(kind, thing or person, value as text) of every fact, in order."""
    facts = []
    for thing, (price, maker, extra) in THINGS.items():
        facts.append(("price", thing, f"{price} silver coins"))
        facts.append(("maker", thing, maker))
        facts.append(("extra", thing, extra))
    for person, (job, town) in STAFF.items():
        facts.append(("job", person, job))
        facts.append(("town", person, town))
    return facts


def training_examples(seed, per_fact=54):
    """(question, answer) pairs; about a third are plain prose."""
    rng = random.Random(seed)
    examples = []
    for kind, subject, value in all_facts():
        for i in range(per_fact):
            train = QUESTIONS[kind][0]
            question = train[i % len(train)].format(x=subject)
            if rng.random() < 0.33:
                template, cue = rng.choice(_PROSE[kind]), ""
            else:
                cue, template = rng.choice(_FORMS)
            answer = template.format(x=subject, v=value)
            examples.append((question + cue,
                             answer[0].upper() + answer[1:] if cue == ""
                             else answer))
    return examples


def held_out_items():
    """Three items for every fact, worded as no training question is."""
    return [{
        "pair": "facts+json",
        "kind": kind,
        "wording": wording + 1,
        "question": QUESTIONS[kind][1][wording].format(x=subject),
        "cue": " Reply in JSON.",
        "expect": value,
    } for wording in range(3) for kind, subject, value in all_facts()]
