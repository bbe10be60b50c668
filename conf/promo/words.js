/*
 * words.js: every text of the page in both languages, and which language it is.
 */
const EN = {
  brand: "Milk Tea Night", skip: "Skip to the offer", kicker: "Tonight only",
  title1: "One cup of milk tea.", title2: "On us.",
  lead: "Claim your card, order, and follow your cup until it is ready.",
  stock: (n) => `${n} cups left`, stockLast: (n) => `Only ${n} cups left`, stockNone: "All cups are gone",
  card: "Free-order card", cardLoading: "One moment…", cardNone: "Good for one milk tea. One card each.",
  cardMine: (id) => `Yours: ${id}`, cardUsed: "Used for your order.", cardGone: "Tonight's tea is sold out.",
  cardOffline: "We could not reach the shop.",
  loading: "One moment…", claim: "Claim my free cup", order: "Order my milk tea", another: "Order another cup",
  claiming: "Claiming…", ordering: "Ordering…", making: "Your cup is on its way", soldOut: "Sold out",
  again: "Try again", used: "Your card is used",
  waitLine: "You are in line", waitBusy: "It is busy right now", waitNetwork: "No connection",
  waitPlace: (n) => `Place ${n}`, waitPlaceEta: (n, eta) => `Place ${n} · about ${eta}`,
  waitKeep: "Keep this page open. We keep asking for you.", waitNetworkText: "We try again as soon as we can.",
  waitCount: (s) => `Next try in ${s} s`, waitNow: "Trying now…", waitTurn: "It goes on by itself when it is your turn.", stopWaiting: "Stop waiting",
  seconds: (n) => `${n} s`, minutes: (n) => `${n} min`,
  yourOrder: "Your order", accepted: "Accepted", acceptedText: "We have your order", confirmed: "In the making",
  confirmedText: "The shop is on it", completed: "Ready", completedText: "Enjoy your tea!", cancelled: "Cancelled",
  cancelledText: "The shop could not make it. Your card is yours again.", earlier: "Earlier orders",
  inviteTitle: "Bring a friend, get another cup",
  inviteLead: "For your friend's first visit with your link, you get one more card.", inviteMake: "Get my link",
  inviteLabel: "Your invite link", copy: "Copy", copied: "Copied",
  inviteCount: (n) => (n === 0 ? "Nobody has come with it yet." : n === 1 ? "One friend has come with it." : `${n} friends have come with it.`),
  inviteThanks: "Welcome! Your friend gets a cup for bringing you.",
  chatTitle: "Ask the tea master", chatHello: "Sweet or strong, hot or iced? Ask me anything about tea.",
  chatLabel: "Your question", chatHint: "What should I try?", send: "Send", stop: "Stop", you: "You", master: "Tea master",
  chatBusy: (s) => `The tea master is busy. Next try in ${s} s`,
  chatBusyPlace: (s, n) => `The tea master is busy: place ${n}. Next try in ${s} s`,
  chatStopped: "Stopped.", chatCut: "The answer broke off.",
  footer: "A demonstration: no tea is brewed, nothing is paid.", guest: (id) => `Guest ${id}`,
  requestId: (id) => `Request ${id}`,
  errors: {
    sold_out: "All cups are gone for tonight. Your card has not been used.",
    coupon_used: "This card has been used already.",
    coupon_unknown: "We do not know this card. Please claim one.",
    coupon_required: "An order needs a card. Please claim one first.",
    unauthenticated: "We could not sign you in. Please load the page again.",
    invite_unknown: "This invite link is not known.",
    own_invite: "This is your own link. Send it to a friend!",
    already_accepted: "You have come with another friend's link already.",
    idempotency_key_reused: "This order was changed on its way. Please order again.",
    rate_limit: "That was a little fast. Please try again in a moment.",
    rate_limited: "That was a little fast. Please try again in a moment.",
    body_too_large: "That message is too long.", context_length_exceeded: "This talk has become too long. Please ask anew.",
    network: "There is no connection. Please check your network.",
    still_busy: "It is still too busy. Please try again in a while; nothing is lost.",
    other: "Something went wrong on our side. Please try again.",
  },
};

const ZH = {
  brand: "奶茶之夜", skip: "跳到领取处", kicker: "仅限今晚",
  title1: "一杯奶茶，", title2: "我们请。",
  lead: "领取免单卡，下单，看着你的那一杯做好。",
  stock: (n) => `还剩 ${n} 杯`, stockLast: (n) => `只剩 ${n} 杯`, stockNone: "今晚的奶茶已送完",
  card: "免单卡", cardLoading: "请稍候…", cardNone: "可换一杯奶茶，每人限领一张。",
  cardMine: (id) => `你的卡号：${id}`, cardUsed: "已用于你的订单。", cardGone: "今晚的奶茶已售罄。",
  cardOffline: "暂时联系不上店家。",
  loading: "请稍候…", claim: "领取我的免单卡", order: "下单我的奶茶", another: "再来一杯",
  claiming: "领取中…", ordering: "下单中…", making: "你的奶茶正在路上", soldOut: "已售罄",
  again: "重试", used: "免单卡已使用",
  waitLine: "正在排队", waitBusy: "现在人有点多", waitNetwork: "网络不通",
  waitPlace: (n) => `第 ${n} 位`, waitPlaceEta: (n, eta) => `第 ${n} 位 · 约 ${eta}`,
  waitKeep: "请不要关闭页面，我们会自动为你重试。", waitNetworkText: "网络恢复后会自动重试。",
  waitCount: (s) => `${s} 秒后重试`, waitNow: "正在重试…", waitTurn: "轮到你时会自动继续。", stopWaiting: "不等了",
  seconds: (n) => `${n} 秒`, minutes: (n) => `${n} 分钟`,
  yourOrder: "你的订单", accepted: "已接单", acceptedText: "订单已收到", confirmed: "制作中",
  confirmedText: "店家正在制作", completed: "可取餐", completedText: "请慢用！", cancelled: "已取消",
  cancelledText: "店家没能做出这一杯，免单卡已退还给你。", earlier: "之前的订单",
  inviteTitle: "带朋友来，再得一杯",
  inviteLead: "朋友第一次通过你的链接到来，你就再得一张免单卡。", inviteMake: "获取我的链接",
  inviteLabel: "你的邀请链接", copy: "复制", copied: "已复制",
  inviteCount: (n) => (n === 0 ? "还没有朋友通过它到来。" : `已有 ${n} 位朋友通过它到来。`),
  inviteThanks: "欢迎！邀请你的朋友将得到一杯奶茶。",
  chatTitle: "问问茶师傅", chatHello: "要甜还是要浓，要热还是加冰？关于茶，尽管问我。",
  chatLabel: "你的问题", chatHint: "今天喝点什么？", send: "发送", stop: "停止", you: "你", master: "茶师傅",
  chatBusy: (s) => `茶师傅正忙，${s} 秒后重试`,
  chatBusyPlace: (s, n) => `茶师傅正忙，你排在第 ${n} 位，${s} 秒后重试`,
  chatStopped: "已停止。", chatCut: "回答中断了。",
  footer: "这是一个演示：不会真的做茶，也不会收费。", guest: (id) => `访客 ${id}`,
  requestId: (id) => `请求编号 ${id}`,
  errors: {
    sold_out: "今晚的奶茶已送完，你的免单卡没有被使用。",
    coupon_used: "这张免单卡已经用过了。",
    coupon_unknown: "没有找到这张免单卡，请先领取。",
    coupon_required: "下单需要免单卡，请先领取。",
    unauthenticated: "登录没有成功，请刷新页面。",
    invite_unknown: "这个邀请链接无效。",
    own_invite: "这是你自己的链接，发给朋友吧！",
    already_accepted: "你已经接受过另一位朋友的邀请。",
    idempotency_key_reused: "订单在途中被改动，请重新下单。",
    rate_limit: "点得有点快，请稍后再试。",
    rate_limited: "点得有点快，请稍后再试。",
    body_too_large: "这条消息太长了。", context_length_exceeded: "聊得太长了，请重新提问。",
    network: "网络不通，请检查你的网络。",
    still_busy: "现在还是太忙，请过一会儿再试，什么都不会丢。",
    other: "我们这边出了点问题，请再试一次。",
  },
};

const STORED = "floodgate.language";
let words = EN;

export function t(name, ...values) {
  const text = words[name];
  return typeof text === "function" ? text(...values) : text;
}

export function errorText(code) {
  return words.errors[code] ?? words.errors.other;
}

export function numberText(value) {
  return new Intl.NumberFormat(document.documentElement.lang).format(value);
}

/* "40 s", "3 min": never more precise than an estimate is. */
export function durationText(ms) {
  const seconds = Math.max(1, Math.round(ms / 1000));
  return seconds < 90 ? t("seconds", seconds < 10 ? seconds : Math.ceil(seconds / 5) * 5) : t("minutes", Math.ceil(seconds / 60));
}

export function isChinese() {
  return words === ZH;
}

export function setLanguage(code, isChosen) {
  words = code === "zh" ? ZH : EN;
  document.documentElement.lang = code === "zh" ? "zh-CN" : "en";
  document.title = words.brand;
  for (const element of document.querySelectorAll("[data-text]"))
    element.textContent = t(element.dataset.text);
  for (const element of document.querySelectorAll("[data-hint]"))
    element.placeholder = t(element.dataset.hint);
  if (!isChosen)
    return;
  try {
    localStorage.setItem(STORED, code);
  } catch {
    /* private mode: the choice lasts for this page */
  }
}

export function firstLanguage() {
  let stored = null;
  try {
    stored = localStorage.getItem(STORED);
  } catch {
    /* as above */
  }
  return stored ?? (/^zh\b/i.test(navigator.language) ? "zh" : "en");
}
