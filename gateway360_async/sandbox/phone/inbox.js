// The inbox: every SMS, newest first, in groups of a minute each.

import { $, announce, arrange, clockMinute, groupTitle, post, setText, setTime, stamp } from "./dom.js";
import { Sms, announceSms } from "./sms.js";

export class Inbox {
  #sms = new Map(); // by the message's id
  #groups = new Map(); // by the minute
  #offset = 0; // seconds that the sandbox's clock is ahead of the browser's

  constructor() {
    $("messages").replaceChildren(); // what the server drew, for a page without JavaScript
    $("clear").addEventListener("click", async () => {
      try {
        await post("/_phone/clear", {});
        announce("All cleared");
        $("search").focus();
      } catch (error) {
        announce(error.message);
      }
    });
    setInterval(() => this.tick(), 1000);
  }

  forget() {
    this.#sms.clear();
  }

  /** Show a whole state. `number` is what is searched for. */
  state(state, number) {
    this.#sms = new Map(state.messages.map((message) => [message.id, this.#made(message)]));
    this.#draw(state, number);
    if (number) setText($("found"), `${state.totals.messages} SMS to numbers with ${number}`);
    else setText($("found"), "");
  }

  /** Take in what has changed. */
  update(update, number) {
    for (const id of update.gone_messages) this.#sms.delete(id);
    const fresh = [];
    for (const message of update.messages) {
      if (!this.#sms.has(message.id)) fresh.push(message);
      this.#sms.set(message.id, this.#made(message));
    }
    this.#draw(update, number);
    for (const { id } of fresh) this.#sms.get(id).node.classList.add("is-new");
    if (fresh.length) announceSms(fresh);
  }

  #made(message) {
    const known = this.#sms.get(message.id);
    known?.update(message);
    return known ?? new Sms(message);
  }

  #draw({ now, totals }, number) {
    this.#offset = now - Date.now() / 1000;
    const minutes = new Map();
    for (const id of [...this.#sms.keys()].sort((a, b) => b - a)) {
      const sms = this.#sms.get(id);
      const minute = Math.floor(sms.message.sent_at / 60);
      minutes.set(minute, [...(minutes.get(minute) ?? []), sms]);
    }
    const groups = new Map();
    for (const [minute, list] of minutes) {
      const node = this.#groups.get(minute) ?? stamp("group-template");
      arrange(node.querySelector("ol"), list.map((sms) => sms.node));
      setTime(node.querySelector("time"), minute * 60, groupTitle(minute * 60, now));
      groups.set(minute, node);
    }
    this.#groups = groups;
    arrange($("messages"), [...groups.values()]);
    this.#totals(totals, number);
    this.tick();
  }

  #totals({ messages }, number) {
    const shown = this.#sms.size;
    setText($("message-count"), String(messages));
    document.title = `${messages ? `(${messages}) ` : ""}Sandbox phone · gateway360`;
    $("empty").hidden = shown > 0;
    setText($("empty-title"), number ? "No such number" : "No SMS yet");
    $("empty-hint").hidden = $("empty-how").hidden = Boolean(number);
    $("more-exist").hidden = shown >= messages;
    setText($("more-exist"), `The newest ${shown} of ${messages}: search by number for the others`);
  }

  /** Count down. */
  tick() {
    const now = Date.now() / 1000 + this.#offset;
    for (const sms of this.#sms.values()) sms.tick(now);
    setText($("clock"), clockMinute(now));
  }
}
