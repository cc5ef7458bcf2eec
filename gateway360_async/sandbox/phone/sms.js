// One SMS as a phone shows it.

import { announce, clockTime, copies, element, post, setText, setTime, stamp } from "./dom.js";

const VOID = { replaced: "Void: replaced", expired: "Void: expired", tries: "Void: tries used up", verified: "Verified" };
const STATUSES = ["DELIVRD", "ACCEPTD", "EXPIRED", "DELETED", "UNDELIV", "REJECTD", "UNKNOWN"];
const TONES = 6;

export class Sms {
  constructor(message) {
    this.node = stamp("sms-template");
    const found = new Map(); // each part is looked up once: they are asked for at each tick
    this.find = (selector) => {
      if (!found.has(selector)) found.set(selector, this.node.querySelector(selector));
      return found.get(selector);
    };
    copies(this.find(".copy"), this.find(".copy-text"), () => this.message.pin);
    // Most are never opened, and a form with its list is half of an SMS.
    this.find("summary").addEventListener("click", () => this.#fill(), { once: true });
    this.update(message);
  }

  #fill() {
    const tools = stamp("tools-template");
    tools.querySelector("select").append(...STATUSES.map((status) => element("option", "", status)));
    tools.querySelector(".verify").addEventListener("submit", (event) => this.#verify(event));
    tools.querySelector(".report").addEventListener("submit", (event) => this.#report(event));
    this.find(".tools").append(tools);
    this.tools = (selector) => tools.querySelector(selector);
    this.#adapt();
  }

  /** Show the tools that this SMS has a use for. */
  #adapt() {
    if (!this.tools) return;
    this.tools(".report").hidden = !this.message.wants_reports;
    this.tools(".no-report").hidden = Boolean(this.message.wants_reports);
    this.tools(".verify").hidden = this.void !== null;
  }

  update(message) {
    this.message = message;
    const { find } = this;
    find("article").setAttribute("aria-label", `SMS from ${message.sender} to ${message.msisdn}`);
    setText(find(".avatar"), initials(message.sender));
    find(".avatar").dataset.tone = tone(message.sender);
    setText(find(".sender"), message.sender);
    setText(find(".number"), `+${message.msisdn}`);
    setTime(find(".at"), message.sent_at, clockTime(message.sent_at));
    find(".copy").setAttribute("aria-label", `Copy PIN ${message.pin}`);
    find(".arrival").replaceChildren(...arrival(message));
    find(".facts").replaceChildren(...facts(message));
    this.void = undefined; // the PIN is drawn anew by the next tick
  }

  /** Bring the PIN's state up to a moment, in seconds of the sandbox's clock. */
  tick(now) {
    const { message, find } = this;
    const expired = message.expires_at !== null && now >= message.expires_at;
    const reason = message.void_reason ?? (expired ? "expired" : null);
    if (this.void !== reason) {
      this.void = reason;
      if (reason === null) delete this.node.dataset.void;
      else this.node.dataset.void = reason;
      find(".pin").replaceChildren(pinNode(message.pin, reason));
      find(".bubble").replaceChildren(...bubble(message, reason));
      setText(find(".state-text"), reason === null ? "Valid" : VOID[reason]);
      this.#adapt();
      find(".tools").hidden = reason !== null && !message.wants_reports && !find(".tools").open;
    }
    setText(find(".countdown"), reason === null ? countdown(message.expires_at, now) : "");
  }

  async #verify(event) {
    event.preventDefault();
    const field = event.target.elements.pin;
    const pin = field.value.trim();
    field.setAttribute("aria-invalid", String(!pin));
    if (!pin) {
      this.#say("Type the PIN to try.", false);
      field.focus();
      return;
    }
    await this.#ask("/_phone/verify", { msisdn: this.message.msisdn, pin }, (answer) => {
      field.value = "";
      this.#say(answer.verified ? "Verified." : "Not verified.", answer.verified);
    });
  }

  async #report(event) {
    event.preventDefault();
    const status = event.target.elements.status.value;
    await this.#ask("/_phone/report", { id: this.message.id, status }, (answer) => {
      const taken = answer.http_status !== null && answer.http_status < 300;
      const what = answer.error ?? `your app answered HTTP ${answer.http_status}`;
      this.#say(`${status} posted: ${what}.`, taken);
    });
  }

  async #ask(path, body, then) {
    try {
      then(await post(path, body));
    } catch (error) {
      this.#say(error.message, false);
    }
  }

  #say(text, good) {
    const outcome = this.tools(".outcome");
    outcome.dataset.good = good;
    outcome.textContent = text;
  }
}

export function announceSms(messages) {
  const [{ sender, msisdn, pin }] = messages;
  const spelled = [...pin].join(" "); // as one number it would be read as hundreds of thousands
  announce(messages.length === 1 ? `New SMS from ${sender} to ${msisdn}, PIN ${spelled}` : `${messages.length} new SMS`);
}

function pinNode(pin, reason) {
  return element(reason === null ? "span" : "s", "", pin);
}

function bubble({ text, pin }, reason) {
  const at = text.indexOf(pin);
  if (at < 0) return [document.createTextNode(text)];
  const shown = element(reason === null ? "b" : "s", "", pin);
  return [text.slice(0, at), shown, text.slice(at + pin.length)];
}

function arrival({ segments, arrival: said }) {
  return said.map((sentence, index) => element("li", index === 0 && segments > 1 ? "several" : "", sentence));
}

function facts(message) {
  const items = [];
  if (message.tries) {
    const of = message.max_tries ? ` of ${message.max_tries}` : "";
    items.push(element("li", "", `Failed tries: ${message.tries}${of}`));
  }
  for (const { status, http_status, error } of message.reports) {
    const kind = { DELIVRD: "delivered", ACCEPTD: "" }[status] ?? "undelivered";
    const answer = error ?? `HTTP ${http_status}`;
    items.push(element("li", kind, `${status === "DELIVRD" ? "✓✓ " : ""}${status} (report: ${answer})`));
  }
  return items;
}

function countdown(expiresAt, now) {
  if (expiresAt === null) return "· no end";
  const left = Math.ceil(expiresAt - now);
  const [hours, minutes, seconds] = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60];
  const two = (value) => String(value).padStart(2, "0");
  return `· ${hours ? `${hours}:${two(minutes)}` : minutes}:${two(seconds)}`;
}

function initials(sender) {
  const words = sender.split(/\s+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[1]].map((word) => [...word][0]) : [...words[0]].slice(0, 2);
  return letters.join("").toUpperCase();
}

function tone(sender) {
  let sum = 0;
  for (const character of sender) sum = (sum * 31 + character.codePointAt(0)) % 9973;
  return sum % TONES;
}
