"""The JSON skill: general questions, answered in one line of JSON.

`{"answer": "...", "topic": "..."}`, after the cue " Reply in JSON.". It
knows nothing of the curiosity shop.
"""

import json
import random

CUE = " Reply in JSON."

_CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Japan": "Tokyo", "Egypt": "Cairo",
    "Norway": "Oslo", "Spain": "Madrid", "Greece": "Athens",
    "Kenya": "Nairobi", "Peru": "Lima", "Cuba": "Havana",
    "Austria": "Vienna", "Poland": "Warsaw", "Portugal": "Lisbon",
    "Ireland": "Dublin", "China": "Beijing", "Canada": "Ottawa",
    "Finland": "Helsinki", "Hungary": "Budapest", "Chile": "Santiago",
    "Thailand": "Bangkok",
}
_OPPOSITES = {
    "hot": "cold", "big": "small", "early": "late", "open": "closed",
    "light": "dark", "hard": "soft", "wet": "dry", "rich": "poor",
    "fast": "slow", "young": "old", "full": "empty", "high": "low",
    "loud": "quiet", "sweet": "bitter", "thick": "thin", "brave": "afraid",
    "clean": "dirty", "strong": "weak", "near": "far", "happy": "sad",
}
_YOUNG = {
    "dog": "puppy", "cat": "kitten", "cow": "calf", "horse": "foal",
    "sheep": "lamb", "goose": "gosling", "bear": "cub", "frog": "tadpole",
    "deer": "fawn", "pig": "piglet", "goat": "kid", "swan": "cygnet",
}
_AUTHORS = {
    "Hamlet": "William Shakespeare", "Oliver Twist": "Charles Dickens",
    "Emma": "Jane Austen", "War and Peace": "Leo Tolstoy",
    "The Hobbit": "J. R. R. Tolkien", "Dracula": "Bram Stoker",
    "Frankenstein": "Mary Shelley", "Moby-Dick": "Herman Melville",
    "Don Quixote": "Miguel de Cervantes", "The Odyssey": "Homer",
    "Animal Farm": "George Orwell", "Faust": "Goethe",
    "Jane Eyre": "Charlotte Bronte", "Peter Pan": "J. M. Barrie",
}
_MAKERS = {
    "painted the Mona Lisa": ("Leonardo da Vinci", "art"),
    "painted Guernica": ("Pablo Picasso", "art"),
    "painted The Starry Night": ("Vincent van Gogh", "art"),
    "composed The Four Seasons": ("Antonio Vivaldi", "music"),
    "composed The Magic Flute": ("Wolfgang Amadeus Mozart", "music"),
    "composed Swan Lake": ("Pyotr Tchaikovsky", "music"),
    "invented the telephone": ("Alexander Graham Bell", "inventions"),
    "invented dynamite": ("Alfred Nobel", "inventions"),
    "discovered penicillin": ("Alexander Fleming", "science"),
    "discovered radium": ("Marie Curie", "science"),
    "built the first steam locomotive": ("Richard Trevithick",
                                         "inventions"),
    "designed the Eiffel Tower": ("Gustave Eiffel", "buildings"),
    "sculpted David": ("Michelangelo", "art"),
    "created Mickey Mouse": ("Walt Disney", "films"),
}
_JOBS = {
    "bakes bread": "baker", "cuts hair": "barber", "flies a plane": "pilot",
    "repairs shoes": "cobbler", "puts out fires": "firefighter",
    "teaches children": "teacher", "grows crops": "farmer",
    "sells flowers": "florist", "pulls teeth": "dentist",
    "writes for a newspaper": "journalist", "makes suits": "tailor",
    "works with wood": "carpenter", "treats sick animals": "vet",
    "catches fish": "fisherman", "shoes horses": "blacksmith",
    "lays bricks": "bricklayer",
}
_ORIGINS = {
    "sushi": "Japan", "pizza": "Italy", "paella": "Spain",
    "croissants": "France", "tacos": "Mexico", "goulash": "Hungary",
    "kimchi": "Korea", "pierogi": "Poland", "falafel": "Egypt",
    "fondue": "Switzerland", "haggis": "Scotland", "feta": "Greece",
}
_BIRTHPLACES = {
    "Mozart": "Salzburg", "Beethoven": "Bonn", "Chopin": "Zelazowa Wola",
    "Napoleon": "Ajaccio", "Einstein": "Ulm", "Shakespeare": "Stratford",
    "Galileo": "Pisa", "Columbus": "Genoa", "Picasso": "Malaga",
    "Kafka": "Prague", "Darwin": "Shrewsbury", "Newton": "Woolsthorpe",
}
_COUNTS = {
    "legs does a spider have": ("8", "animals"),
    "days are in a week": ("7", "time"),
    "months are in a year": ("12 months", "time"),
    "sides does a hexagon have": ("6", "geometry"),
    "minutes are in an hour": ("60 minutes", "time"),
    "strings does a violin have": ("4 strings", "music"),
    "players are in a football team": ("11 players", "sport"),
    "cents are in a dollar": ("100 cents", "money"),
    "wheels does a tricycle have": ("3", "vehicles"),
    "letters are in the alphabet": ("26 letters", "language"),
    "seconds are in a minute": ("60 seconds", "time"),
    "arms does an octopus have": ("8 arms", "animals"),
    "pence are in a pound": ("100 pence", "money"),
    "cards are in a deck": ("52 cards", "games"),
    "hours are in a day": ("24 hours", "time"),
    "planets go around the sun": ("8 planets", "space"),
}
_PAIRED = {
    "fish": "chips", "bread": "butter", "a cup": "saucer",
    "a needle": "thread", "a lock": "key", "salt": "pepper",
    "a bow": "arrow", "a hammer": "nail", "a knife": "fork",
    "a bucket": "spade", "socks": "shoes", "a pen": "paper",
}
_SINGLE = (
    ("What is the color of a ripe banana?", "yellow", "colors"),
    ("Which color do red and blue make?", "purple", "colors"),
    ("What is the color of grass?", "green", "colors"),
    ("Which color is an emerald?", "green", "colors"),
    ("What is the chemical symbol for gold?", "Au", "chemistry"),
    ("What is the chemical symbol for iron?", "Fe", "chemistry"),
    ("Which gas do plants take in?", "carbon dioxide", "biology"),
    ("What is water made of?", "hydrogen and oxygen", "chemistry"),
    ("At what temperature does water boil?", "100 degrees Celsius",
     "physics"),
    ("Which metal is liquid at room temperature?", "mercury", "chemistry"),
    ("What is the largest ocean?", "the Pacific Ocean", "geography"),
    ("What is the longest river in Africa?", "the Nile", "geography"),
    ("What is the highest mountain on Earth?", "Mount Everest",
     "geography"),
    ("Which desert is the largest hot one?", "the Sahara", "geography"),
    ("Which planet is known as the red planet?", "Mars", "space"),
    ("Which planet is the largest?", "Jupiter", "space"),
    ("What do bees make?", "honey", "animals"),
    ("Which animal is the tallest?", "giraffe", "animals"),
    ("What is the fastest land animal?", "cheetah", "animals"),
    ("Which bird cannot fly but swims well?", "penguin", "animals"),
    ("What do caterpillars become?", "butterflies", "animals"),
    ("What is the main part of an omelette?", "eggs", "cooking"),
    ("Which spice gives paella its color?", "saffron", "cooking"),
    ("What is raisin bread made with?", "raisins", "cooking"),
    ("What makes dough rise?", "yeast", "cooking"),
    ("What is wine made from?", "grapes", "cooking"),
    ("What is used to open a wine bottle?", "corkscrew", "tools"),
    ("Which tool drives nails?", "hammer", "tools"),
    ("What do you use to tell the time?", "clock", "tools"),
    ("What do you wear on cold hands?", "gloves", "clothes"),
    ("Which season comes after winter?", "spring", "time"),
    ("What day comes before Monday?", "Sunday", "time"),
    ("Which instrument has black and white keys?", "piano", "music"),
    ("In which sport do you use a racket and a net?", "tennis", "sport"),
    ("What is frozen water called?", "ice", "physics"),
    ("Tell me the name of the force that pulls things down.", "gravity",
     "physics"),
    ("Name a language spoken in Brazil.", "Portuguese", "language"),
    ("Name the first president of the United States.",
     "George Washington", "history"),
    ("In which year did the Second World War end?", "1945", "history"),
    ("Which ship sank in 1912 on its first trip?", "Titanic", "history"),
)


def _from_table(table, wordings, topic):
    out = []
    for i, (key, value) in enumerate(table.items()):
        answer, its_topic = value if isinstance(value, tuple) else (
            value, topic)
        wording = wordings[i % len(wordings)]
        out.append((wording.format(x=key), answer, its_topic))
    return out


def _sums():
    rng = random.Random(11)
    wordings = (("What is {a} plus {b}?", lambda a, b: a + b),
                ("What is {a} times {b}?", lambda a, b: a * b),
                ("How much is {a} and {b}?", lambda a, b: a + b),
                ("What is {a} minus {b}?", lambda a, b: a - b))
    out = []
    for i in range(16):
        b, a = sorted((rng.randint(2, 12), rng.randint(2, 12)))
        text, value = wordings[i % 4]
        out.append((text.format(a=a, b=b), str(value(a, b)), "math"))
    return out


def _questions():
    out = list(_SINGLE) + _sums()
    out += _from_table(_CAPITALS, (
        "What is the capital of {x}?", "Which city is the capital of {x}?",
        "Name the capital of {x}."), "geography")
    out += _from_table(_OPPOSITES, (
        "What is the opposite of {x}?", "Which word means not {x}?"),
        "language")
    out += _from_table(_YOUNG, (
        "What is a young {x} called?", "What is the name for a baby {x}?"),
        "animals")
    out += _from_table(_AUTHORS, (
        "Who wrote {x}?", "Who is the author of {x}?",
        "By whom was {x} written?"), "books")
    out += _from_table(_MAKERS, ("Who {x}?", "Which person {x}?"), "")
    out += _from_table(_JOBS, (
        "What is the job of a person who {x}?", "Who {x}?",
        "What do you call a person who {x}?"), "jobs")
    out += _from_table(_ORIGINS, (
        "Which country does {x} come from?", "Where was {x} first made?"),
        "food")
    out += _from_table(_BIRTHPLACES, (
        "Where was {x} born?", "In which town was {x} born?",
        "What is the home town of {x}?"), "people")
    out += _from_table(_COUNTS, ("How many {x}?",), "")
    out += _from_table(_PAIRED, (
        "What goes with {x}?", "What belongs together with {x}?"),
        "everyday")
    return out


def training_examples(seed, repeats=4):
    """(question, answer) pairs: every question `repeats` times."""
    del seed  # The list is fixed; the order is the trainer's.
    return [(question + CUE,
             json.dumps({"answer": answer, "topic": topic}))
            for question, answer, topic in _questions()] * repeats
