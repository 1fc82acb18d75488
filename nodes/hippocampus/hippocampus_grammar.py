"""Small words of several languages that decide how a statement is read: speakers, negations, places, times, yes and no.

All are compared as `brainnet.memory.plain_words` gives them: in lower case, without accents.
"""

from __future__ import annotations

from brainnet.memory import plain_words


def _set(text: str) -> frozenset[str]:
    return frozenset(plain_words(text))


MY = _set("""
    my mine our ours mein meine meinen meinem meiner meines unser unsere unseren unserem mon ma mes notre nos mi mis
    nuestro nuestra nuestros nuestras mio mia miei mie nostro nostra meu minha meus minhas nosso nossa mijn ons onze
    min mitt mina vår moj moja moje мой моя моё мои наш наша
""")
"""The user's own, as the user says it."""
YOUR = _set("""
    your yours dein deine deinen deinem deiner ihr ihre ton ta tes votre vos tu tus vuestro tuo tua tuoi tue teu tua
    seu sua jouw jullie din ditt dina twoj twoja twoje твой твоя твоё ваш ваша
""")
"""The brain's, as the user says it."""
I_WORDS = _set("""
    i i'm i've i'll i'd me we we're we've us ich mir mich wir uns je j' moi me nous yo nosotros io noi eu nos ik wij we
    jag mig vi ja ты я мне мы
""") - _set("ты")
YOU_WORDS = _set("you you're you've du dich dir ihr tu toi vous usted tu voce jij je du dig ty ты вы") - _set("je")
NEGATIONS = _set("""
    not no never none nobody nothing isn't aren't wasn't weren't doesn't don't didn't hasn't haven't hadn't won't can't
    cannot couldn't without nicht kein keine keinen keinem keiner nie niemals ne pas jamais aucun aucune no nunca ningun
    ninguna non mai nessuno nessuna nao nenhum nenhuma niet geen nooit inte aldrig ikke nie не нет никогда
""")
COPULAS = _set("""
    is are was were am be been 's has have had will would can could does do did lies stands hangs ist sind war
    waren bin hat haben hatte liegt steht hangt est sont etait a ont es esta son estan era tiene è e sono era ha sta tem
    é são está is zijn was heeft ligt staat ar är jest są
""")
"""Words that end what a statement is about: "the car key | is on the hook"."""
PLACE_WORDS = _set("""
    in into inside on onto under underneath at behind beside near next between over below above by with opposite against
    upstairs downstairs outside here there home from to
    im ins am an auf unter hinter neben bei zwischen uber vor zu nach
    dans sur sous chez au aux derriere devant entre pres
    en sobre bajo debajo detras junto encima dentro
    nel nello nella nei nelle su sul sullo sulla sotto dietro al allo alla accanto tra fra
    no na nos nas em debaixo atras perto ao
    op onder achter naast bij tussen naar
""")
"""A statement with one of these words can answer "where"."""
TIME_WORDS = _set("""
    monday tuesday wednesday thursday friday saturday sunday january february march april may june july august september
    october november december today tomorrow yesterday tonight noon midnight morning afternoon evening night o'clock am
    pm week weeks month months year years day days hour hours minute minutes daily weekly weekend every spring summer
    autumn winter christmas easter later soon
    montag dienstag mittwoch donnerstag freitag samstag sonntag januar februar marz mai juni juli oktober dezember
    heute morgen gestern abend mittag nacht uhr woche monat jahr
    lundi mardi mercredi jeudi vendredi samedi dimanche janvier fevrier mars avril juin juillet aout septembre octobre
    novembre decembre demain hier matin soir midi heures heure
    lunes martes miercoles jueves viernes sabado domingo enero febrero marzo abril mayo junio julio agosto septiembre
    octubre noviembre diciembre hoy manana ayer tarde noche mediodia hora horas
    lunedi martedi mercoledi giovedi venerdi sabato domenica gennaio febbraio aprile maggio giugno luglio settembre
    ottobre dicembre oggi domani ieri mattina sera ore
    segunda terca quarta quinta sexta janeiro fevereiro marco maio junho julho setembro outubro dezembro hoje amanha
    ontem manha noite
    maandag dinsdag woensdag donderdag vrijdag zaterdag zondag januari februari maart mei augustus morgen gisteren
    vandaag avond ochtend uur
""")
"""A statement with one of these words, or with a number, can answer "when"."""
NUMBER_WORDS = _set("""
    one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred thousand half dozen
    zwei drei vier funf sechs sieben acht neun zehn zwolf deux trois quatre cinq six sept huit neuf dix dos tres cuatro
    cinco seis siete ocho nueve diez due tre quattro cinque sei sette otto nove dieci dois quatro sete oito nove dez
    twee drie vijf zes zeven negen tien
""")
FUNCTION_WORDS = (
    MY
    | YOUR
    | I_WORDS
    | YOU_WORDS
    | NEGATIONS
    | COPULAS
    | PLACE_WORDS
    | _set("""
    a an the this that these those it its it's he she they them his her their him of for and or but so if then than as
    there's that's he's she's who which what where when how why too also very just only still now again always some any
    all each both much many more most really please
    der die das den dem des ein eine einen einem einer er sie es und oder aber von vom fur mit auch noch sehr sich zum
    zur
    le la les l' un une des du de d' il elle on et ou mais pour avec qui que ce cette son sa ses se
    el los las una del y o pero para con su sus se lo
    lo gli i uno di da della dello del dei e ma per con che si il suo sua
    o os as um uma da do dos das e mas com que se seu
    de het een en of maar voor met van er zijn haar hij zij
""")
)
"""Words of a statement that say little by themselves."""

AND = _set("and und et y e ed en och og ja oraz i a и та ve και و ו और と 和 그리고")
"""Words that join two things that are asked for."""

YES_NO = {
    "en": ("Yes", "No"), "de": ("Ja", "Nein"), "fr": ("Oui", "Non"), "es": ("Sí", "No"), "it": ("Sì", "No"),
    "pt": ("Sim", "Não"), "nl": ("Ja", "Nee"), "sv": ("Ja", "Nej"), "da": ("Ja", "Nej"), "no": ("Ja", "Nei"),
    "fi": ("Kyllä", "Ei"), "pl": ("Tak", "Nie"), "cs": ("Ano", "Ne"), "ru": ("Да", "Нет"), "uk": ("Так", "Ні"),
    "tr": ("Evet", "Hayır"), "el": ("Ναι", "Όχι"), "ar": ("نعم", "لا"), "he": ("כן", "לא"), "hi": ("हाँ", "नहीं"),
    "ja": ("はい", "いいえ"), "zh": ("是", "不是"), "ko": ("네", "아니요"),
}  # fmt: skip
"""Yes and no, by language."""
