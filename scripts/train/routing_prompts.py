"""Labelled prompts for the router: templates with alternatives and slots, written by hand for this project.

A template is one way to put a request. ``[a|b]`` chooses one alternative (an empty one is allowed), ``{slot}`` is
filled from a list. Train and test never share a template, so the test asks with phrasings that training
has not seen. The lists hold the wording; `examples` turns them into prompts.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

TEMPLATES: dict[str, list[str]] = {}

TEMPLATES["vision"] = """
which digit is this?
[what|which] [digit|number|numeral] [is this|is it|do you see|can you see|is shown]?
what [digit|number] is [in|on] [this|the] [picture|image|photo|drawing]?
[classify|label|recognise|recognize|identify] [this|the] [digit|picture|image|photo|number|object|thing]
[what is|what's] [this|that]?
[what is|what's] [in|on] [this|the] [picture|image|photo|photograph|frame]?
[what|which] [object|thing|animal|shape|letter|item|kind of clothing] is [this|that|shown|in the picture]?
what do you see [here|in this picture|in the image|]?
[look at|have a look at|take a look at] [this|the] [picture|image|photo] and [tell|let] me [know |][what it is|what it shows|what is on it]
[describe|caption|explain] [this|the] [picture|image|photo|scene|drawing]
can you [read|make out|recognise|see] [this|the] [digit|number|writing|handwriting|picture]?
read [this|the] [digit|number|handwriting|handwritten digit|picture] [for me|please|]
[name|tell me] the [digit|number|object|thing] [shown|in the picture|in the image|you see]
is this a {figure} or a {figure}?
is [this|that|it] a {figure}?
what [does|might] [this|the] [picture|image|photo] [show|depict|contain]?
what [have I|did I] [draw|drawn|written|photographed|sketched] here?
here is [a|my] [picture|photo|drawing|image|digit]. what [is it|does it show|is on it]?
which [class|category|label] does [this|the] [picture|image|photo] belong to?
[digit|number|image|picture|photo]?
what am I [looking at|showing you|holding up to the camera]?
I [wrote|drew|sketched] a [digit|number|figure|shape], which one is it?
[please |]tell me what [is shown here|you can see|this picture is about|this is]
does [this|the] [picture|image] show [a|an|the] {figure}?
[guess|say] [the|which] [digit|number|object] [this is|is in the picture|is shown]
how would you [label|classify|call] [this|the] [image|picture|object|digit]?
[see|look]: what [is|would you say is] this?
[the camera|my phone|the sensor] took this, what is [it|on it|there]?
[can|could|would] you [tell|say] [which|what] [digit|number|object] this is[ please|]?
what [value|figure|numeral|character] [was|is] [written|drawn|printed] [here|in the image|in this picture]?
[which|what] of the ten digits [is|do you see in] this [picture|image|]?
analyse [this|the] [image|picture|photo|frame][ for me|]
[any idea|do you know|can you say] what this [picture|image|digit|object|thing] [is|shows|could be]?
[interpret|decode|examine|inspect] the [attached|enclosed|following] [picture|image|photo|drawing]
what's the [digit|number] [on|in] the [attached|enclosed|attached] [image|picture|photo|file]?
[attached is|I attach|I am sending you] [a|this] [picture|photo|digit], [what|which one] is it?
who or what is [in|on] this [photo|picture|image]?
is there [a|an|any] {figure} in [this|the] [picture|image|photo]?
[image|picture|visual] [recognition|classification][ please|: what is it|]
whose handwriting aside, which [digit|number] does this look like?
""".strip().splitlines()

TEMPLATES["hippocampus"] = """
Remember that the {object} is {place}.
Where is the {object}?
[please |can you |]remember [that|this:|the following:] {fact}
[please |]remember: {fact}
[please |]don't forget [that|:] {fact}
[keep|bear] in mind [that|:] {fact}
[make|take] a note[:| that| of this:] {fact}
note [that|:|down that] {fact}
[store|save|keep|memorise|memorize] [this|the following|the fact|this fact][:| that] {fact}
I want you to [remember|know|keep in mind] that {fact}
for [later|future reference|the record|your memory][:|,] {fact}
[you should|please] [learn|know|remember] that {fact}
[just so you know|just so you remember|write this down|put this in your memory][:|,] {fact}
remind me [later |]that {fact}
[where|where exactly] [is|are|did I put|did I leave|have I put] [the|my] {object}?
where [can|could|do] I find [the|my] {object}?
[do you know|do you remember|can you tell me|tell me] where [the|my] {object} [is|was|went|lies]?
in which [room|place|drawer|box] is [the|my] {object}?
what did I [tell|say to] you [about|regarding|on] [the|my] {object}?
what do you [know|remember|recall] about [the|my] {object|person}?
what did I [ask|tell|want] you to remember[ yesterday| today| about the {object}|]?
[recall|look up|retrieve|find] [everything |what you know |what I said |]about [the|my] {object}
when [is|was] [the meeting|{person}'s birthday|my appointment|the delivery|the deadline|my flight]?
what is [the|my] [wifi password|door code|pin|locker number|parking spot|phone number of {person}|name of {person}'s dog|address of {person}]?
what [was|is] the [code|number|password|combination] [for|of|to] [the|my] {object}?
who [has|took|borrowed|owns|gave me] [the|my] {object}?
[did I|have I] [tell|mention|told] you [where|who|when|about] [the|my] {object}[ is|]?
what does {person} [like|want|prefer|need|drink|eat]?
[which|what] [colour|color|size] is [the|my] {object}?
whose {object} is [it|{place}]?
[I forgot|I forget|I cannot remember|I don't remember] where [the|my] {object} is
[I am|I'm] looking for [the|my] {object}
what [is|was|did I put|did I leave] {place}?
[have you|did you] [seen|notice|remember|keep] [where |][the|my] {object}[ anywhere|]?
what [happened|did we do|did we talk about|did I say] [yesterday|last week|on Monday|this morning|before|last time]?
[search|check|consult] your memory for [the|my] {object}
[take this down|log this|record this|file this away]: {fact}
it is important that you remember [this:|that] {fact}
[commit|add] [this |]to [your |]memory[:| that] {fact}
how many {objects} [do I have|are there|did I buy|are left]?
what was it I [said|told you|wanted] about [the|my] {object}?
which {object} [is|was] it that I [left|put|hid] {place}?
let me tell you [something|a fact]: {fact}
[has|does] {person} [have|got|still have] [the|my] {object}?
remember the [arm|picture|story|poem|robot] [is|was] {place}
what did I [tell|say to] you about the [arm|picture|robot|story]?
[forgotten|lost]: my {object}. where [did I put it|is it]?
the location of [the|my] {object}[ please|, please|?|]
[got|there is] something [for you |]to remember: {fact}
what's stored {place}?
""".strip().splitlines()

TEMPLATES["motor_cortex"] = """
Move the arm to {point}
[please |can you |could you |]move [the|your|that] [arm|hand|gripper|fingertip|tip|end effector|robot|robot arm|manipulator] to {point}
move to {point}
[reach|reach out|stretch|extend|go|point|drive|steer|travel] [to|for|towards] {point}
[reach|stretch out|reach out] [with the arm |with your arm |]to {point}
[point|aim] [the arm|the finger|your finger|your hand|the gripper|] at {point}
[bring|put|place|position|send|take|guide|set] the [arm|hand|tip|fingertip|gripper|end effector] [at|to|on|over] {point}
[go|get|head] to [the point |position |coordinates |]{point}
touch [the point |the target at |the spot at |position |]{point}
[reach|go for|touch|hit] the [target|goal|ball|dot|marker|point] at {point}
[I want|I need|I would like] [the arm|your hand|the fingertip|the gripper] [at|to be at|to go to] {point}
[target|goal|reach|move|arm][:|] {point}
the arm [should|must|has to] [go|move|be moved|reach] to {point}
let the [arm|hand|gripper|finger] [go|move|travel] to {point}
[make|have] the [arm|robot|hand] [reach|touch|move to|go to|point at] {point}
[swing|rotate|turn|shift|slide|lower|raise] the [arm|hand|elbow|joint|gripper] [to|towards] {point}
now [go|move|reach] to {point}
and now to {point}
[then|next|after that|now] {point}
[next|new] [target|goal|position|point][:| is] {point}
move [left|right|up|down|forward|back|backwards] [a bit|a little|by 5 cm|by {decimal}|]
[move|shift] the [arm|hand|tip] [left|right|up|down|forward|back|inwards|outwards][ a bit| a little| by {decimal}|]
[stretch|extend|raise|lower|retract|fold|straighten|bend] [the|your] [arm|elbow|hand|gripper][ please|]
[return|go back|move back] to [the home position|the origin|the centre|{point}|zero]
[stop|hold|freeze] the [arm|movement|motion][ right there| now|]
can [you|the arm] [reach|get to|touch] {point}?
[carry|deliver] the [tip|hand|gripper] to {point}
[execute|perform|do|start] a [reach|reaching movement|movement|motion] to {point}
how close can [you|the arm] get to {point}?
[try|attempt] to [reach|touch|hit] {point}
[would|will] you [kindly |please |][move|bring] your [hand|arm] to {point}?
x {decimal} y {decimal}
[grab|grasp|pick up|tap|push] [the {object}|the thing|whatever is] at {point}
[direct|navigate|relocate|displace|transfer] the [arm|effector|gripper] to {point}
[get|fetch] [the arm|your hand|the tip] [over |]to {point}
let's [go|move|reach] to {point}
[wave|wiggle|swing] [the|your] [arm|hand|elbow][ around|]
your [hand|fingertip|arm] belongs at {point}
[with|using] the arm, [touch|reach|go to] {point}
the [target|goal|ball] [is|sits|lies|has moved] [at|to] {point}[, go there|, reach it|; touch it|]
""".strip().splitlines()

TEMPLATES["cerebellum"] = """
How well do you predict your movements?
how [accurately|precisely|reliably] [do|can] you predict your [movements|movement|motion|own arm|reaches|actions]?
how [good|bad|accurate|precise|reliable|exact] [is|are] your [prediction|predictions|forward model|motor predictions|movement predictions|internal model]?
what is your [prediction error|forward model error|motor error|error of prediction|tracking error]?
how [large|big|small] is [your|the] [prediction error|error of your forward model|error of your predictions]?
[report|show|tell me|give me] [your|the] [prediction error|prediction accuracy|forward model error|motor learning progress]
[have|did] you [adapt|adapted|adjusted|adjust] to the [new|changed] [arm|dynamics|load|weight]?
[are you|is your forward model] [adapting|learning|improving|calibrated|correcting itself]?
how [quickly|fast|well] do you [adapt|adjust] [to changes|to a heavier arm|when the arm changes|your movements]?
[is|was] your [last |]movement [as you predicted|as expected|what you predicted]?
did [the arm|your hand|the movement] [go|move|end] [where|as] you [expected|predicted]?
[what|how much] [did|do] you [learn|know] about [the arm's dynamics|your own movements|moving the arm]?
how [sure|certain|confident] are you [of|about] your [movements|motor predictions|next movement]?
how far [off|out] [are|were] your [predictions|movement predictions|predicted movements]?
[evaluate|assess|measure|rate] your [movement prediction|motor predictions|forward model|motor coordination|internal model of the arm]
how [smooth|coordinated|well timed|well-coordinated] are your movements?
do you [predict|anticipate|foresee] [the consequences of your commands|where your arm will be|what your arm will do]?
how [much|far] do your predicted and [real|actual|true] [positions|movements|angles] [differ|deviate]?
[how is|how's] your [motor coordination|motor learning|movement prediction|fine motor control|sense of balance] [doing|today|]?
what [accuracy|precision|error] [does your|has your] [forward model|movement model|cerebellar model] [have|reach|reached]?
[can|could] you [tell|say] how [well|accurately] you [foresee|predict|anticipate] [a movement|your reaches|motion]?
[compare|contrast] [the |]predicted and [actual|observed|measured] [movement|motion|trajectory|position] [of the arm|]
by how much [do you miss|does your prediction miss|is your forward model off]?
[is|has] the arm [behaving|behaved|moved|moving] [as|differently than|like] you [predicted|expected]?
how [well|precisely] [do|can] you [anticipate|foresee|estimate] [the result|the outcome|the effect] of a [command|movement|torque]?
[rate|describe|summarise] how well you [predict|coordinate|anticipate] [your |]movements
what is the [mean|average|typical|current] error of your [movement |motor |arm |][predictions|prediction|forecasts]?
your prediction accuracy[ for movements|, please|?|]
[has|did] your motor [model|prediction] [improved|improve|got better|get worse][ lately| over time| recently|]?
""".strip().splitlines()

TEMPLATES["language"] = """
Once upon a time
once upon a time there [was|lived] a {creature}
[continue|complete|finish|extend|go on with] [this|the|the following] [text|sentence|story|line|passage|paragraph|poem][:|] {opening}
[write|compose|make up|invent|create] [me |][a|another|a short|a little] [story|poem|tale|verse|song|letter|text|fable|rhyme|dialogue] about [a|the] {creature|topic}
[write|compose] [something|a few lines|some lines|a paragraph] about {topic}
tell me [a|another|a short] [story|tale|joke|fairy tale|fable|riddle][ about a {creature}|]
[say|tell me|write] something [nice|funny|new|poetic|clever][ about {topic}|]
in [a|the] [far away|small|distant|quiet|dark] [land|village|forest|town|kingdom]
[long ago|many years ago|one day|one evening|late one night|early one morning], [a|the] {creature}
there [was|once was|once lived] [a|an old|a young] {creature} who
it was [a dark and stormy|a cold|a warm summer|a quiet|a bright winter] [night|day|morning|evening]
the [old|young|little|brave|tired] {creature} [walked|looked|sat|stood|sang|wondered]
[to be, or not to be|all the world's a stage|call me Ishmael|shall I compare thee]
O [Romeo|gentle son|my lord|noble king], [wherefore|what|speak|why]
[KING|QUEEN|ROMEO|JULIET|HAMLET|FIRST CITIZEN|GLOUCESTER]:
[hello|hi|good morning|good evening|hey|greetings][ there| brain| my friend|!|]
how are you[ today| doing| feeling|]?
[thank you|thanks|thank you very much|well done|goodbye|good night|see you]
what comes next[:| after] {opening}
[go on|continue|keep going|carry on|keep writing][ please| with the story|]
[I|We|He|She|They] [walked|went|ran|wandered|looked|came] [slowly |quietly |][through|into|along|across|towards] the [forest|town|river|garden|old house|sea]
the [sun|moon|wind|rain|snow|night|sea] [was|rose|fell|came|went]
when [I|he|she|we] [was|were] [young|a child|small|a boy|still at school]
[describe|imagine|picture] [a|an|the] {topic} in [words|a few words|one sentence|prose|verse]
[rewrite|rephrase|paraphrase|shorten|translate|summarise] [this|the following] [sentence|text|passage]: {opening}
[my|her|his] [mother|father|brother|sister|grandmother] [always|never|often|used to] [said|told|sang|say]
[talk|speak|chat] [to|with] me[ about {topic}|]
[dear|my dear] [friend|sir|madam|{person}],
[chapter|part|book] [one|1|I|two|2][.|:|]
[what would|how would] [a poet|shakespeare|a king|a {creature}] [say|speak|write][ about {topic}|]?
the [robot|arm|picture|memory|brain] [was|woke|dreamed|began to] [old|at last|of the sea|sing|speak]
write a [story|poem|tale] about [a robot arm|a lost toolbox|a picture|a memory|a camera|the number seven]
[let us|let's] [write|tell|invent|make up] a [story|tale|rhyme]
[begin|start|open] [a|the] [story|novel|tale|poem] [with|about] {topic}
[spin|narrate|relate|recite] [me |][a|a little] [yarn|tale|poem|verse]
[I remember|I shall never forget|I still see] the [day|night|summer|winter] [when|that] [he|she|we] [came|left|met]
[generate|produce|give me] [some |a bit of |][text|prose|words|verse|sentences][ about {topic}|]
[use|put] the [word|words] {topic} in a [sentence|story|poem]
[finish|end|close] the [story|tale|sentence]: {opening}
[to whom it may concern|ladies and gentlemen|friends, romans, countrymen|my fellow citizens]
""".strip().splitlines()

FOLLOW_UPS = """
again
[once|one time] more
[do|try|say] [it|that] again
one more time[ please|]
and [now|again|this one|another]?
[the same|same] again[ please|]
repeat[ that| it| please|]
[another|another one|one more][ please|]
and the next?
[once|one] more[ please| time]
please repeat
try again[ please|]
""".strip().splitlines()

FACTS = """
the {object} is {place}
the {object} is {place}
my {object} is {place}
I [put|left|hid|stored|parked|placed] [the|my] {object} {place}
the {objects} are {place}
{person} [has|took|borrowed|owns|needs] [the|my] {object}
{person}'s [birthday|appointment|exam|party] is on {date}
the [meeting|delivery|train|concert|dentist appointment|class] is [at {time}|on {date}|on {date} at {time}]
the [code|combination|pin|password] [of|for|to] the {object} is {integer}
my [locker number|parking spot|room number|flight number|gate] is {integer}
{person} [likes|hates|prefers|is allergic to] {food}
we [need|have run out of|must buy] {food}
I [like|prefer|want|never eat] {food}
{person} lives {place}
the [neighbour's|new] [dog|cat|car] is called {person}
{person} will [call|come|visit|arrive] [on {date}|at {time}]
the {object} [belongs to|was a gift from] {person}
the [red|green|left|right|upper] [switch|button|key|lever] [opens|starts|stops|belongs to] the {object}
there are {integer} {objects} {place}
the [arm|robot|camera] [is|stands|was repaired] {place}
""".strip().splitlines()

SLOTS: dict[str, list[str]] = {
    "noun": """toolbox hammer wrench screwdriver key ladder umbrella passport wallet charger phone laptop notebook
        camera drill saw bicycle helmet jacket scarf glove boot suitcase backpack map torch lamp battery cable
        remote book letter parcel ticket receipt invoice guitar violin ball racket tent rope bucket broom mop
        kettle pan teapot mug plate spoon knife scissors tape glue stapler pen pencil ruler calculator clock
        watch ring necklace coin safe chest basket blanket pillow towel candle mirror painting vase plant
        spanner vice multimeter soldering-iron oscilloscope sensor motor gripper servo lens tripod medicine
        thermometer bandage leash birdcage aquarium trowel rake shovel wheelbarrow hose seed lighter""".split(),
    "adjective": """blue red green yellow black white grey brown old new small big heavy broken spare rusty wooden metal
        second favourite silver golden long short little orange purple plastic leather""".split(),
    "spot": """workbench table desk shelf bed sofa stairs sink oven window door cupboard wardrobe drawer fridge bookcase
        garage kitchen attic cellar garden shed hallway bathroom office car trunk balcony bedroom laboratory workshop
        cabinet box chair fireplace carpet roof porch locker basement library piano""".split(),
    "preposition": """under|on|in|behind|next to|beside|inside|above|below|near|at the back of|on top of|to the left of
        |to the right of|in front of|opposite""".replace("\n        ", "").split("|"),
    "person": """Anna Tom Maria Peter Julia Kenji Aiko Lena Omar Fatima Carlos Ingrid Paul Sarah David Emma Yuki Noah Mia
        Hans Priya Ivan Chloe Bruno Greta Samuel Rosa Felix Nadia Victor Alice Bob Grandma Smith""".split(),
    "food": """coffee|tea|milk|bread|apples|peanuts|cheese|rice|chocolate|tomatoes|fish|honey|green tea|oat milk|noodles
        |olives|strawberries|butter|pasta|garlic""".replace("\n        ", "").split("|"),
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday tomorrow today".split(),
    "month": """January February March April May June July August September October November December""".split(),
    "creature": """king queen fox wolf girl boy robot dragon wizard farmer fisherman sailor princess knight mouse cat raven
        soldier clockmaker giant witch miller shepherd traveller bear whale detective captain ghost hare""".split(),
    "topic": """the sea|love|winter|a lonely robot|the moon|spring|an old house|the stars|a journey|friendship|music|the city
        |a summer evening|time|the mountains|the forest|hope|autumn leaves|a lost ring|rain|silence|a long war|the desert
        |electric sheep|bread and wine|a small village|the future""".replace("\n        ", "").split("|"),
    "figure": """three|seven|two|nine|zero|five|eight|four|one|six|shoe|shirt|bag|coat|dress|cat|dog|car|ship|truck|horse|frog
        |bird|deer|plane|circle|square|face|tree|house|letter""".replace("\n        ", "").split("|"),
}

_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{([a-z|]+)\}")


@dataclass(frozen=True)
class Example:
    """One labelled prompt. `target` route -> probability (soft where two routes are both right);
    `follows` is the prompt before it in the session, where the label depends on that."""

    text: str
    target: dict[str, float]
    has_image: bool = False
    follows: Example | None = None


def _number(rng: random.Random) -> str:
    value = round(rng.uniform(-0.21, 0.21), rng.choice([1, 2, 2, 2, 3]))
    return f"{value:.2f}" if rng.random() < 0.5 else f"{value}"


def _point(rng: random.Random) -> str:
    x, y = _number(rng), _number(rng)
    shapes = ["({x}, {y})"] * 5 + ["({x},{y})", "{x}, {y}", "{x} {y}", "x={x}, y={y}", "x={x} y={y}", "[{x}, {y}]"]
    shapes += ["x {x} and y {y}", "the point ({x}, {y})", "position ({x}, {y})", "coordinates {x}, {y}", "({x}; {y})"]
    return rng.choice(shapes).format(x=x, y=y)


def _object(rng: random.Random) -> str:
    adjective = rng.choice(SLOTS["adjective"]) + " " if rng.random() < 0.6 else ""
    return adjective + rng.choice(SLOTS["noun"])


_MADE: dict[str, Callable[[random.Random], str]] = {
    "point": _point,
    "decimal": _number,
    "integer": lambda rng: str(rng.randint(2, 9999)),
    "object": _object,
    "objects": lambda rng: _object(rng) + "s",
    "place": lambda rng: f"{rng.choice(SLOTS['preposition'])} the {rng.choice(SLOTS['spot'])}",
    "date": lambda rng: rng.choice([rng.choice(SLOTS["day"]), f"{rng.choice(SLOTS['month'])} {rng.randint(1, 28)}"]),
    "time": lambda rng: rng.choice([f"{rng.randint(1, 12)} o'clock", f"{rng.randint(8, 20)}:{rng.choice(['00', '30'])}"]),
    "fact": lambda rng: fill(rng.choice(FACTS), rng),
}


def fill(template: str, rng: random.Random) -> str:
    """One prompt of a template."""
    while found := _ALTERNATIVES.search(template):
        # A coordinate in brackets is filled in last, so every bracket here is an alternative.
        template = template[: found.start()] + rng.choice(found[1].split("|")) + template[found.end() :]

    def slot(match: re.Match[str]) -> str:
        name = rng.choice(match[1].split("|"))
        return _MADE[name](rng) if name in _MADE else rng.choice(SLOTS[name])

    return re.sub(r"\s+", " ", _SLOT.sub(slot, template)).strip()


def is_test(index: int) -> bool:
    """Every fifth template is kept for the test."""
    return index % 5 == 4


def examples(
    rng: random.Random, *, test: bool, count: int, openings: list[str], questions: list[str]
) -> Iterator[Example]:
    """`count` examples of one split, routes equally often.

    `openings`: sentences of free text (language continues them); `questions`: general questions, for which
    memory and language are equally right. Both must already belong to the split.
    """
    pools = {
        route: [t for i, t in enumerate(templates) if is_test(i) == test] for route, templates in TEMPLATES.items()
    }
    follow_ups = [t for i, t in enumerate(FOLLOW_UPS) if is_test(i) == test]
    SLOTS["opening"] = openings
    routes = list(pools)
    for _ in range(count):
        kind = rng.random()
        if kind < 0.06:
            yield Example(rng.choice(questions), {"hippocampus": 0.5, "language": 0.5})
            continue
        route = rng.choice(routes)
        first = _example(route, pools[route], rng, openings)
        if kind < 0.14:
            yield Example(fill(rng.choice(follow_ups), rng), first.target, first.has_image, first)
        elif kind < 0.4:
            other = rng.choice(routes)
            yield Example(first.text, first.target, first.has_image, _example(other, pools[other], rng, openings))
        else:
            yield first


def _example(route: str, pool: list[str], rng: random.Random, openings: list[str]) -> Example:
    if route == "language" and rng.random() < 0.4:
        text = rng.choice(openings)
    else:
        text = fill(rng.choice(pool), rng)
    if rng.random() < 0.25:
        text = text.rstrip("?.! ")
    if route == "vision":
        # A picture may come without a word, and a word about a picture without the picture.
        text = "" if rng.random() < 0.05 else text
        return Example(text, {route: 1.0}, has_image=not text or rng.random() < 0.95)
    return Example(text, {route: 1.0}, has_image=rng.random() < 0.08)
