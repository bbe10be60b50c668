"""
corpus.py: the text that the demo model learns from, made from phrases.en.txt and phrases.zh.txt.
Job      parse the phrases, expand their choices, roughen them as people type, and put
         them together into dialogues; the same seed gives the same text.
Held out the questions marked "!" never enter a training dialogue, and no roughened question that
         comes out equal to one of them does.
Form     a dialogue is a list of (role, text); chatml() gives the text that a model sees.
"""

import os
import random
from dataclasses import dataclass, field

FOLDER = os.path.dirname(os.path.abspath(__file__))
LANGUAGES = ("en", "zh")

# What follows a shown answer and needs the dialogue to be understood.
NEXT = {
    "en": [
        "and then?", "what next?", "and then", "then what", "what comes next", "go on",
        "ok and then",
    ],
    "zh": ["然后呢", "然后呢？", "接下来呢", "下一步呢", "接着说", "之后呢", "继续"],
}
AGAIN = {
    "en": [
        "say that again", "please repeat", "pardon?", "can you repeat that", "again please",
        "what did you say",
    ],
    "zh": ["再说一遍", "请重复一下", "没听清，再说一次", "重复一遍", "你刚才说什么"],
}
SWITCH = {  # asked in either language: the last answer in the named one
    "en": ["in English please", "say it in English", "用英文说一遍", "English please", "英文怎么说"],
    "zh": ["in Chinese please", "say it in Chinese", "用中文说一遍", "说中文", "中文怎么说"],
}
SYSTEM = [
    "You are the assistant of the milk tea promotion.",
    "You are a helpful assistant.",
    "You are a friendly shop assistant. Keep answers short.",
    "You help the guests of a milk tea giveaway. Be polite and brief.",
    "Answer questions about orders, cards and invites.",
    "You are a customer service bot.",
    "Be concise.",
    "你是奶茶活动的小助手。",
    "你是一个有用的助手。",
    "你是客服，请简短、礼貌地回答。",
    "请回答关于订单、免单卡和邀请的问题。",
]
SYSTEM_FIXED_LANGUAGE = {
    "en": [
        "Answer in English.", "You are the milk tea assistant. Always answer in English.",
        "请用英文回答。",
    ],
    "zh": ["Answer in Chinese.", "你是奶茶活动的小助手，请始终用中文回答。", "请用中文回答。"],
}
OPENERS = {
    "en": [
        "hi, ", "hello, ", "please, ", "um, ", "so ", "excuse me, ", "hey, ", "sorry, ", "ok, ",
        "and ", "but ", "quick question: ", "can you tell me ", "i want to know ", "well, ",
    ],
    "zh": ["你好，", "请问", "请问一下，", "那个，", "嗯，", "我想问一下，", "那", "麻烦问下", "不好意思，", "想知道", "哎，"],
}
CLOSERS = {
    "en": [
        " please", " thanks", ", thank you", " now", " today", " exactly", " pls", " then",
        " again",
    ],
    "zh": ["啊", "呢", "呀", "，谢谢", "，急", "谢谢", "哈", "的", "现在"],
}
MARKS = {
    "en": ["", "?", "?", ".", "!", "??", " ?", "..."],
    "zh": ["", "", "？", "？", "。", "！", "?", "~", "??"],
}
SUBJECTS = (  # stray words for questions that nobody foresaw
    "car house dog bird river mountain computer phone school teacher doctor bank train plane ship "
    "bread cheese apple summer winter paper window garden movie song guitar football chess king "
    "queen moon star ocean desert science history language engine battery ticket market budget "
    "lawyer police soldier baby uncle grandma salad python linux docker sql javascript kernel "
    "compiler laptop printer keyboard mouse monitor wifi bluetooth"
).split()
SUBJECTS_ZH = (
    "汽车 房子 小狗 飞机 火车 学校 老师 医生 银行 手机 电脑 苹果 夏天 冬天 花园 电影 歌曲 吉他 足球 象棋 月亮 星星 大海 沙漠 "
    "科学 历史 语言 发动机 电池 股票 律师 警察 宝宝 叔叔 奶奶 沙拉 键盘 鼠标 屏幕 蓝牙 游戏 考试 作业 工资 房租 旅游 护照 签证"
).split()
FRAMES = {
    "en": [
        "what is a {0}", "how does a {0} work", "tell me about the {0}", "where can I buy a {0}",
        "do you like the {0}", "is a {0} better than a {1}", "my {0} is broken",
        "why is the {0} so {2}", "how much is a {0}", "write something about a {0} and a {1}",
        "I have a {0}", "can a {0} be {2}", "which {0} is the best",
    ],
    "zh": ["什么是{0}", "{0}是什么", "怎么买{0}", "介绍一下{0}", "你喜欢{0}吗", "{0}和{1}哪个好", "我的{0}坏了", "{0}多少钱",
           "写一篇关于{0}的文章", "为什么{0}这么贵", "我有一个{0}", "哪个{0}最好"],
}
# Words that may stand for each other in a question, whatever its template says.
ALIKE = {
    "en": [
        ["card", "coupon", "voucher", "free card", "gift card", "ticket"],
        ["milk tea", "tea", "boba", "bubble tea", "drink", "cup"],
        ["get", "obtain", "receive"],
        ["friend", "buddy", "mate", "colleague", "sister", "classmate"],
        ["promotion", "campaign", "offer", "event", "giveaway", "deal"],
        ["wait", "wait in line", "queue up"],
        ["app", "page", "site", "website", "phone"],
        [
            "my order", "my purchase", "my order number 4821", "my order 17", "order ord_8f2c",
            "my order again",
        ],
        ["tell me", "explain to me", "show me", "can you say", "let me know"],
        ["how do I", "how can I", "how would I", "what must I do to", "how to", "how does one"],
        ["where is", "what happened to", "any update on", "what about"],
        ["can I", "may I", "could I", "am I allowed to", "is it possible to"],
        ["says", "shows", "displays", "reads"],
        ["now", "today", "right now", "at the moment", "tonight"],
    ],
    "zh": [
        ["免单卡", "优惠券", "卡", "券", "免单券", "免费券", "礼券"],
        ["奶茶", "饮料", "饮品", "那杯奶茶"],
        ["领", "领取", "获取"],
        ["怎么", "如何", "怎样", "咋", "要怎么"],
        ["朋友", "好友", "同学", "同事", "家人", "闺蜜"],
        ["订单", "单子", "订单4821", "点的单"],
        ["活动", "促销", "福利活动"],
        ["在哪里", "在哪", "在哪儿", "在什么地方"],
        ["多久", "多长时间", "几分钟", "多少时间"],
        ["什么意思", "啥意思", "是什么意思", "代表什么"],
        ["什么", "啥"],
        ["可以", "能", "能不能", "可不可以"],
        ["页面", "网页", "应用", "手机", "小程序"],
    ],
}
QUALITIES = "big small red blue old new fast cold hot strange famous heavy".split()


@dataclass
class Intent:
    name: str
    questions: dict = field(default_factory=lambda: {"en": [], "zh": []})
    held_out: dict = field(default_factory=lambda: {"en": [], "zh": []})
    answers: dict = field(default_factory=lambda: {"en": [], "zh": []})
    follow: str = ""


def load_intents(folder=FOLDER):
    """Both phrase files as a dict of intents; a difference between the twins is an error."""
    intents = {}
    for language in LANGUAGES:
        seen = []
        with open(os.path.join(folder, f"phrases.{language}.txt"), encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                mark, text = line[:1], line[1:].strip()
                if mark in "#\n":
                    continue
                if mark == "@":
                    current = intents.setdefault(text, Intent(text))
                    seen.append(text)
                elif mark == "?":
                    current.questions[language].append(text)
                elif mark == "!":
                    if "[" in text:
                        where = f"phrases.{language}.txt:{number}"
                        raise ValueError(f"{where}: a held-out question has no choices")
                    current.held_out[language].append(text)
                elif mark == "=":
                    current.answers[language].append(text)
                elif mark == ">":
                    current.follow = text
                else:
                    raise ValueError(f"phrases.{language}.txt:{number}: unknown mark {mark!r}")
        if seen != list(intents):
            raise ValueError(f"phrases.{language}.txt: other intents than its twin")
    for intent in intents.values():
        if intent.follow not in intents:
            raise ValueError(f"{intent.name}: unknown follow-up {intent.follow!r}")
    return intents


def expand(template, rng):
    """One random expansion of the [a|b] choices of a template, innermost first."""
    while "]" in template:
        end = template.index("]")
        start = template.rindex("[", 0, end)
        choice = rng.choice(template[start + 1 : end].split("|"))
        template = template[:start] + choice + template[end + 1 :]
    return " ".join(template.replace(" ,", ",").split())


def typo(text, rng):
    """One slip of the finger: a letter lost, doubled or swapped with the next one."""
    plain = [char.isascii() and char.isalpha() for char in text]
    spots = [i for i in range(1, len(text) - 1) if plain[i] and text[i + 1].isalpha()]
    if not spots:
        return text
    i = rng.choice(spots)
    kind = rng.randrange(3)
    if kind == 0:
        return text[:i] + text[i + 1 :]
    if kind == 1:
        return text[:i] + text[i] + text[i:]
    return text[:i] + text[i + 1] + text[i] + text[i + 2 :]


def swap_alike(text, language, rng):
    """One word of ALIKE for another of its group, if there is one; of nested words the longest."""
    present = {
        word: group
        for group in ALIKE[language]
        for word in group
        if has_word(text, word, language)
    }
    whole = [w for w in present if not any(w != other and w in other for other in present)]
    if not whole:
        return text
    word = rng.choice(whole)
    group = present[word]
    return text.replace(word, rng.choice(group), 1)


def has_word(text, word, language):
    if language == "zh":
        return word in text
    at = text.find(word)
    after = text[at + len(word) : at + len(word) + 1]
    return at >= 0 and (at == 0 or text[at - 1] == " ") and not after.isalnum()


def drop_word(text, language, rng):
    """The text without one of its words (in Chinese, one of its characters)."""
    parts = list(text) if language == "zh" else text.split(" ")
    if len(parts) < 4:
        return text
    del parts[rng.randrange(len(parts))]
    return "".join(parts) if language == "zh" else " ".join(parts)


def roughen(text, language, rng):
    """The same question as different people type it."""
    while rng.random() < 0.35:
        text = swap_alike(text, language, rng)
    while rng.random() < 0.2:
        text = drop_word(text, language, rng)
    if rng.random() < 0.22:
        text = rng.choice(OPENERS[language]) + text
    if rng.random() < 0.12:
        text += rng.choice(CLOSERS[language])
    text += rng.choice(MARKS[language])
    if language == "en":
        if rng.random() < 0.45:
            text = text[:1].upper() + text[1:]
        draw = rng.random()
        if draw < 0.15:
            text = text.lower()
        elif draw < 0.19:
            text = text.upper()
        while rng.random() < 0.18:
            text = typo(text, rng)
    return text


def noise(language, rng):
    """Keys hit at random, or characters that make no sentence."""
    draw = rng.random()
    if language == "zh":
        count = rng.randrange(2, 9)
        return "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(count))
    if draw < 0.5:
        count = rng.randrange(3, 14)
        return "".join(rng.choice("asdfghjklqwertyuiopzxcvbnm") for _ in range(count))
    if draw < 0.8:
        return " ".join(
            "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randrange(2, 8)))
            for _ in range(rng.randrange(1, 5))
        )
    return "".join(rng.choice("0123456789.,;:-_#*+!?()/ ") for _ in range(rng.randrange(1, 10)))


def stray(language, rng):
    """A well-formed question about something else."""
    words = SUBJECTS if language == "en" else SUBJECTS_ZH
    frame = rng.choice(FRAMES[language])
    return frame.format(rng.choice(words), rng.choice(words), rng.choice(QUALITIES))


def bare(text):
    """Letters and digits alone: what is left when case, spaces and punctuation do not matter."""
    return "".join(char for char in text.lower() if char.isalnum())


def ask(intent, language, rng):
    """A question for training: never empty, never one that is held out."""
    if intent.name == "noise":
        return noise(language, rng)
    banned = {""} | {bare(question) for question in intent.held_out[language]}
    while True:
        if intent.name == "other" and rng.random() < 0.3:
            question = stray(language, rng)
        else:
            question = expand(rng.choice(intent.questions[language]), rng)
        rough = roughen(question, language, rng)
        if bare(question) not in banned and bare(rough) not in banned:
            return rough


def answer(intent, language, rng):
    choices = intent.answers[language]
    return choices[0] if len(choices) == 1 or rng.random() < 0.8 else rng.choice(choices[1:])


def pick_intent(intents, rng):
    """Even over intents, with more weight on what covers more ground."""
    heavy = ["other"] * 7 + ["greet", "thanks"]
    heavy += ["order_status", "get_card", "offer", "order_how", "queue_why", "steps", "story"]
    return intents[rng.choice(list(intents) + heavy)]


def dialogue(intents, rng, turn_count=None):
    """One training dialogue of one to eight questions, with or without a system message."""
    if turn_count is None:
        turn_count = rng.choices((1, 2, 3, 4, 6, 8), (60, 19, 10, 6, 3, 2))[0]
    language = rng.choice(LANGUAGES)
    out, forced = [], None
    draw = rng.random()
    if draw < 0.06:
        forced = rng.choice(LANGUAGES)
        out.append(("system", rng.choice(SYSTEM_FIXED_LANGUAGE[forced])))
    elif draw < 0.4:
        out.append(("system", rng.choice(SYSTEM)))
    shown, reply = None, None
    for _ in range(turn_count):
        if rng.random() < 0.12:
            language = "en" if language == "zh" else "zh"
        reply_in, draw, repeats = forced or language, rng.random(), False
        if shown is not None and draw < 0.10:
            question, shown = rng.choice(NEXT[language]), intents[shown.follow]
        elif shown is not None and draw < 0.15:
            question, repeats = rng.choice(AGAIN[language]), reply[0] == reply_in
        elif shown is not None and draw < 0.20:
            reply_in = rng.choice(LANGUAGES)
            question = rng.choice(SWITCH[reply_in])
            language = reply_in
        else:
            shown = pick_intent(intents, rng)
            question = ask(shown, language, rng)
        reply = reply if repeats else (reply_in, answer(shown, reply_in, rng))
        out += [("user", question), ("assistant", reply[1])]
    return out


def held_out_dialogues(intents):
    """Each held-out question, as it is written, with its usual answer, alone in a dialogue."""
    return [
        [("user", question), ("assistant", intent.answers[language][0])]
        for intent in intents.values()
        for language in LANGUAGES
        for question in intent.held_out[language]
    ]


def chatml(messages, opened=False):
    """The ChatML text of a dialogue; `opened` adds the start of the assistant's turn."""
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in messages)
    return text + "<|im_start|>assistant\n" if opened else text
